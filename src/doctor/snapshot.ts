import type { ServerStatus } from '../api/routes/server.ts';
import { ApiClient } from '../client/api-client.ts';
import { bySocket } from '../client/server-address.ts';
import { ownLog } from '../config/installed.ts';
import type { Paths } from '../config/paths.ts';
import { loadServerSettings, type ServerSettings, serverSettingsSchema } from '../config/server-settings.ts';
import { parseSettings } from '../config/settings-file.ts';
import { AppError, systemCode } from '../errors/app-error.ts';
import { type Listener, listListeners } from '../system/net/listeners.ts';
import { isUnitHome } from '../system/process/systemd.ts';
import { formatDuration } from '../system/text/format.ts';

/** State of the installation at one moment, which all checks share. */
export interface Snapshot {
  paths: Paths;
  server: ServerReport;
  /** true if systemd runs this home: each app then has a system user */
  systemWide: boolean;
  /** sockets that listen on this machine; undefined if this platform does not list them */
  listeners: Listener[] | undefined;
  /** settings of the file, or the defaults if the file is invalid */
  limits: ServerSettings;
  settingsError: AppError | undefined;
}

/** Answer of the server; `alone`: the server answers but the runner does not. */
export type ServerReport =
  | { state: 'down'; error: AppError }
  | { state: 'alone'; version: string; error: AppError }
  | { state: 'up'; version: string; status: ServerStatus };

export async function takeSnapshot(paths: Paths): Promise<Snapshot> {
  const systemWide = await isUnitHome(paths.home);
  const [server, settings, listeners] = await Promise.all([
    askServer(paths, systemWide),
    loadServerSettings(paths.settings).catch(asAppError),
    listListeners(),
  ]);
  const isInvalid = settings instanceof AppError;
  const limits = isInvalid ? parseSettings(serverSettingsSchema, {}, 'the defaults') : settings;
  return { paths, server, systemWide, listeners, limits, settingsError: isInvalid ? settings : undefined };
}

function asAppError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  throw error;
}

/** Time limits of the answers, in ms. The server itself waits up to 10 s for the runner. A server that rests has to start first. */
const timeLimits = { server: 5000, restingServer: 30_000, runner: 12_000 };

/** Asks the server over its unix socket. */
async function askServer(paths: Paths, systemWide: boolean): Promise<ServerReport> {
  const deadlines = {
    server: systemWide ? timeLimits.restingServer : timeLimits.server,
    runner: timeLimits.runner,
  };
  const ask = async <Answer>(path: string, who: keyof typeof deadlines): Promise<Answer | AppError> => {
    try {
      const api = new ApiClient(await bySocket(paths.home));
      return await api.call<Answer>('GET', path, { signal: AbortSignal.timeout(deadlines[who]) });
    } catch (error) {
      if (error instanceof AppError) return error;
      const how =
        systemCode(error) === 'ABORT_ERR'
          ? `did not answer within ${formatDuration(deadlines[who])}`
          : `broke off its answer: ${(error as Error).message}`;
      return new AppError('not_running', `the ${who} ${how}`, {
        hint: `Check whether the machine is overloaded or the process is stopped. The log: ${ownLog(systemWide)}.`,
        cause: error,
      });
    }
  };
  const health = await ask<{ version: string }>('/healthz', 'server');
  if (health instanceof AppError) return { state: 'down', error: health };
  const { version } = health;
  const status = await ask<ServerStatus>('/v1/status', 'runner');
  return status instanceof AppError
    ? { state: 'alone', version, error: status }
    : { state: 'up', version, status };
}
