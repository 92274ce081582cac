import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { systemHome } from '../config/installed.ts';
import { checkRunDirectory, homeFromEnvironment, Paths } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';
import { readJson } from '../system/fs/files.ts';
import { isLoopback } from '../system/net/address.ts';

/** Address of a server: its unix socket, or a URL with a token. */
export type ServerAddress =
  | { kind: 'socket'; path: string; home: string }
  | { kind: 'url'; url: URL; token: string };

/**
 * Finds the server that the user means. The first that is set wins: SLUICE_URL with SLUICE_TOKEN; SLUICE_HOME; the user's
 * config file, `{"url": …, "token": …}`; the home that `localHome` returns.
 */
export async function findServer(env: NodeJS.ProcessEnv = process.env): Promise<ServerAddress> {
  if (env['SLUICE_URL']) return byUrl(env['SLUICE_URL'], env['SLUICE_TOKEN'], 'SLUICE_URL');
  if (env['SLUICE_HOME']) return bySocket(homeFromEnvironment(env));
  const path = join(env['XDG_CONFIG_HOME'] || join(homedir(), '.config'), 'sluice/config.json');
  const config = await readConfig(path);
  if (config !== undefined) return byUrl(String(config.url), config.token, path);
  return bySocket(localHome(env));
}

/**
 * Returns the home of the server on this machine: SLUICE_HOME, else that of a system-wide installation, else `.sluice` in the
 * working directory if it exists, else `.sluice` in this checkout.
 */
export function localHome(env: NodeJS.ProcessEnv = process.env): string {
  const here = homeFromEnvironment(env);
  return env['SLUICE_HOME'] || here === systemHome || existsSync(here)
    ? here
    : resolve(import.meta.dirname, '../../.sluice');
}

async function readConfig(path: string): Promise<{ url?: unknown; token?: unknown } | undefined> {
  const content = await readJson(path).catch((cause: Error) => {
    throw new AppError('invalid_settings', cause.message, { cause });
  });
  if (content === undefined || (typeof content === 'object' && content !== null)) return content;
  throw new AppError('invalid_settings', `${path} is not {"url": …, "token": …}`);
}

/** Returns the address of the server with a home. Another user must not be able to answer instead of the server. */
export async function bySocket(home: string): Promise<ServerAddress> {
  const paths = new Paths(home);
  await checkRunDirectory(paths);
  return { kind: 'socket', path: paths.serverSocket, home };
}

function byUrl(text: string, token: unknown, from: string): ServerAddress {
  if (!URL.canParse(text) || !/^https?:/.test(text)) {
    throw new AppError('bad_request', `${from}: "${text}" is not a URL`, {
      hint: 'Use a URL such as http://127.0.0.1:8700 or https://deploy.example.com',
    });
  }
  if (typeof token !== 'string' || token === '') {
    throw new AppError('unauthorized', `${from} has a URL but no token`, {
      hint: 'Set SLUICE_TOKEN, or "token" in the config file. Create one on the server: `sluice token create NAME`.',
    });
  }
  if (!/^[!-~]+$/.test(token)) {
    throw new AppError('unauthorized', `${from} has an invalid token`, {
      hint: 'A token has no spaces, line ends or special characters. Create one on the server: `sluice token create NAME`.',
    });
  }
  return { kind: 'url', url: new URL(text), token };
}

/** Returns a warning if others on the network could read the token and use it; undefined if not. */
export function plainHttpWarning(address: ServerAddress): { message: string; hint: string } | undefined {
  if (address.kind !== 'url') return undefined;
  const { protocol, hostname, origin } = address.url;
  if (protocol !== 'http:' || isLoopback(hostname)) return undefined;
  return {
    message: `the token travels unencrypted to ${origin}`,
    hint: `Use an https:// URL (\`sluice domains\` on the server), or a tunnel: ssh -L 8700:127.0.0.1:8700 ${hostname}`,
  };
}
