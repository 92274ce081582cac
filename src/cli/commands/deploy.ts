import type { Command } from 'commander';
import { type EnvironmentId, environmentName } from '../../config/paths.ts';
import { counted } from '../../system/text/format.ts';
import {
  type AppOptions,
  appPath,
  appSubcommand,
  connect,
  parseEnvironment,
  wholeNumber,
} from '../command.ts';
import { UsageError } from '../failure.ts';
import { createView, type DeployView, followDeploy, silentView } from '../follow-deploy.ts';
import { print, printJson } from '../output.ts';
import { appDirectory, appNameIn } from '../upload/app-directory.ts';
import type { CheckoutCommit } from '../upload/checkout.ts';

const accept = 'application/x-ndjson';

export function registerDeployCommands(program: Command): void {
  appSubcommand(program, 'deploy [directory]', 'Upload a directory, build it on the server and put it live')
    .option('-a, --app <name>', 'Name of the app (default: the name in package.json)')
    .option('--release <number>', 'Build the commit of an earlier release again, as a new release')
    .action(deploy);
  const description = 'Return to the release that was live before, or to another earlier release';
  appSubcommand(program, 'rollback <app> [release]', description).action(rollback);
}

type DeployOptions = AppOptions & { app?: string; release?: string };

async function deploy(directory: string | undefined, options: DeployOptions): Promise<void> {
  if (options.release !== undefined) return redeploy(directory, options.release, options);
  const root = await appDirectory(directory);
  const id = parseEnvironment(options.app ?? (await appNameIn(root)), options.environment);
  const view = options.json ? silentView : createView();
  const [client, { packDirectory }] = await Promise.all([connect(), import('../upload/pack.ts')]);
  const [{ files, stream }, commit] = await Promise.all([
    packDirectory(
      root,
      (sent) => view.uploading(sent),
      (text) => view.note(text),
    ),
    readCommit(root, view),
  ]);
  if (!options.json) print(`${environmentName(id)} from ${root}, ${counted(files, 'file')}`);
  const release = await followDeploy(client, id, view, 'deploy', (signal) =>
    client.open('POST', appPath(id, '/releases'), {
      query: { environment: id.environment, ...commit },
      body: stream,
      accept,
      signal,
    }),
  );
  if (options.json) printJson(release);
}

/** Returns undefined with a note if the repository cannot be read: the release then has no commit. */
async function readCommit(root: string, view: DeployView): Promise<CheckoutCommit | undefined> {
  const { commitOf } = await import('../upload/checkout.ts');
  try {
    return await commitOf(root);
  } catch (error) {
    view.note(
      `note: the release has no commit, since the repository cannot be read: ${(error as Error).message}`,
    );
    return undefined;
  }
}

async function redeploy(
  directory: string | undefined,
  number: string,
  options: DeployOptions,
): Promise<void> {
  if (directory !== undefined)
    throw new UsageError('--release builds a commit that is on the server: do not name a directory');
  const id = parseEnvironment(options.app ?? (await appNameIn(process.cwd())), options.environment);
  const path = `/releases/${wholeNumber(number, '--release')}/redeploy`;
  await begin(id, 'deploy', path, options);
}

async function rollback(name: string, number: string | undefined, options: AppOptions): Promise<void> {
  const id = parseEnvironment(name, options.environment);
  const json = number === undefined ? {} : { release: wholeNumber(number, 'release') };
  await begin(id, 'rollback', '/rollback', options, json);
}

/** Begins a deploy or a rollback that needs no upload, and follows it. */
async function begin(
  id: EnvironmentId,
  kind: 'deploy' | 'rollback',
  path: string,
  options: AppOptions,
  json?: object,
): Promise<void> {
  const view = options.json ? silentView : createView();
  const client = await connect();
  const query = { environment: id.environment };
  const release = await followDeploy(client, id, view, kind, (signal) =>
    client.open('POST', appPath(id, path), { query, json, accept, signal }),
  );
  if (options.json) printJson(release);
}
