import type { AppStatus } from '../apps/status.ts';
import { environmentName } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';
import { call } from './command.ts';
import { otherNames } from './other-names.ts';

/** Returns what a command does with a background process, by the name of the command. */
const remedies: Record<string, (app: string, process: string) => string> = {
  logs: (app, process) => `sluice logs ${app} --worker ${process}`,
  restart: (app, process) => `sluice restart ${app} --worker ${process}`,
  stop: (app) =>
    `it stops with the app, and does not run if you set its "count" to 0 and deploy. See sluice status ${app}`,
  scale: (app) => `set its "count" in the settings and deploy. See sluice status ${app}`,
};

/**
 * Adds a hint to the error that an app does not exist, if a background process of another app has the name: in PM2, each process is an
 * app. Returns any other error unchanged.
 * @param command name of the command that failed
 */
export async function withProcessHint(error: unknown, command = ''): Promise<unknown> {
  if (!(error instanceof AppError) || error.code !== 'app_not_found') return error;
  const name = /^app (\S+) not found$/.exec(error.message)?.[1];
  // If the list is missing, too, the first error counts.
  const apps = await call<AppStatus[]>('GET', '/v1/apps').catch(() => []);
  const owner = apps.find(({ environment, background }) =>
    background.some((process) => environmentName({ app: process.name, environment }) === name),
  );
  if (name === undefined || owner === undefined) return error;
  const [process = ''] = name.split('@');
  const app = environmentName({ app: owner.name, environment: owner.environment });
  const remedy = remedies[otherNames[command] ?? command] ?? ((of: string) => `sluice status ${of}`);
  const hint = `${process} is a background process of ${app}: ${remedy(app, process)}`;
  return new AppError(error.code, error.message, { hint, cause: error });
}
