import type { ServerStatus } from '../api/routes/server.ts';
import { ApiClient } from '../cli/client.ts';
import { ownLog } from '../config/installed.ts';
import { checkRunDirectory, type Paths } from '../config/paths.ts';
import { AppError, systemCode } from '../errors/app-error.ts';
import { formatDuration } from '../system/text/format.ts';

/** What the server says of itself, or why it says nothing. */
export type ServerReport =
  | { state: 'down'; error: AppError }
  /** it answers, but not what runs: `error` says why */
  | { state: 'alone'; version: string; error: AppError }
  | { state: 'up'; version: string; status: ServerStatus };

/** In ms. A server that lives answers at once; the other one waits up to 10 s for a runner before it gives up. */
const deadlines = { health: 5000, status: 12_000 };

/** Asks the server over its unix socket. */
export async function askServer(paths: Paths, systemWide: boolean): Promise<ServerReport> {
  const api = new ApiClient({ kind: 'socket', path: paths.serverSocket, home: paths.home });
  let version: string;
  try {
    // Nobody else is to be asked, and taken at their word, in its place.
    await checkRunDirectory(paths);
    ({ version } = await ask<{ version: string }>(api, '/healthz', deadlines.health));
  } catch (error) {
    return { state: 'down', error: explained(error, 'the server', deadlines.health, systemWide) };
  }
  try {
    const status = await ask<ServerStatus>(api, '/v1/status', deadlines.status);
    return { state: 'up', version, status };
  } catch (error) {
    return { state: 'alone', version, error: explained(error, 'the runner', deadlines.status, systemWide) };
  }
}

function ask<Answer>(api: ApiClient, path: string, deadline: number): Promise<Answer> {
  return api.call<Answer>('GET', path, { signal: AbortSignal.timeout(deadline) });
}

function explained(error: unknown, who: string, deadline: number, systemWide: boolean): AppError {
  if (error instanceof AppError) return error;
  const how =
    systemCode(error) === 'ABORT_ERR'
      ? `did not answer within ${formatDuration(deadline)}`
      : `broke off its answer: ${(error as Error).message}`;
  return new AppError('not_running', `${who} ${how}`, {
    hint: `Is the machine overloaded, or the process stopped? ${ownLog(systemWide)} may tell.`,
    cause: error,
  });
}
