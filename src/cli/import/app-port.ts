import type { AppStatus } from '../../apps/status.ts';
import { linesOf } from '../../client/api-client.ts';
import { defaultEnvironment } from '../../config/paths.ts';
import type { DeployEvent } from '../../deploy/events.ts';
import { AppError } from '../../errors/app-error.ts';
import { appPath, call, connect, ndjson } from '../command.ts';

/** Returns the path of an imported app in the API. */
export function importedPath(app: string, rest = ''): string {
  return appPath({ app, environment: defaultEnvironment }, rest);
}

/** Returns the port of an app in Sluice. */
export async function portOf(app: string): Promise<number> {
  return (await call<AppStatus>('GET', importedPath(app))).port;
}

/** Moves an app to another port. @param waiting called when its workers are ready and wait for the port */
export async function movePort(
  app: string,
  move: { port: number | null; host?: string | undefined; within?: number },
  waiting: () => void = () => undefined,
): Promise<void> {
  const client = await connect();
  const options = { json: move, accept: ndjson };
  const answer = await client.open('POST', importedPath(app, '/port'), options);
  for await (const line of linesOf(answer)) {
    const event = JSON.parse(line) as DeployEvent;
    if (event.event === 'notice' && event.code === 'waits_for_port') waiting();
    if (event.event === 'failed') throw AppError.from(event.error);
    if (event.event === 'live') return;
  }
  throw new AppError('not_running', 'the connection to the server was lost');
}
