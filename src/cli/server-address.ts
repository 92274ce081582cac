import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { systemHome } from '../config/installed.ts';
import { checkRunDirectory, homeFromEnvironment, Paths } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';
import { readJson } from '../system/fs/files.ts';

/** How to reach a server: over its unix socket, or by URL with a token. */
export type ServerAddress =
  | { kind: 'socket'; path: string; home: string }
  | { kind: 'url'; url: URL; token: string };

/**
 * Which server is meant, first found wins: SLUICE_URL with SLUICE_TOKEN; SLUICE_HOME; the user's config file,
 * `{"url": …, "token": …}`; the one of a system-wide install, where this is of one; `.sluice` in the working directory;
 * `.sluice` in this checkout.
 */
export async function findServer(env: NodeJS.ProcessEnv = process.env): Promise<ServerAddress> {
  if (env['SLUICE_URL']) return byUrl(env['SLUICE_URL'], env['SLUICE_TOKEN'], 'SLUICE_URL');
  if (env['SLUICE_HOME']) return bySocket(homeFromEnvironment(env));
  const path = configFile(env);
  const config = await readConfig(path);
  if (config !== undefined) return byUrl(String(config.url), config.token, path);
  return bySocket(localHome(env));
}

/**
 * The home of the server of this machine: SLUICE_HOME, else that of a system-wide install, else `.sluice` here where it
 * is, else in this checkout.
 */
export function localHome(env: NodeJS.ProcessEnv = process.env): string {
  const here = homeFromEnvironment(env);
  return env['SLUICE_HOME'] || here === systemHome || existsSync(here)
    ? here
    : resolve(import.meta.dirname, '../../.sluice');
}

function configFile(env: NodeJS.ProcessEnv): string {
  return join(env['XDG_CONFIG_HOME'] || join(homedir(), '.config'), 'sluice', 'config.json');
}

async function readConfig(path: string): Promise<{ url?: unknown; token?: unknown } | undefined> {
  const content = await readJson(path).catch((cause: Error) => {
    throw new AppError('invalid_settings', cause.message, { cause });
  });
  if (content === undefined || (typeof content === 'object' && content !== null)) return content;
  throw new AppError('invalid_settings', `${path} is not {"url": …, "token": …}`);
}

async function bySocket(home: string): Promise<ServerAddress> {
  const paths = new Paths(home);
  await checkRunDirectory(paths);
  return { kind: 'socket', path: paths.serverSocket, home };
}

function byUrl(text: string, token: unknown, from: string): ServerAddress {
  if (!URL.canParse(text) || !/^https?:/.test(text)) {
    throw new AppError('bad_request', `${from}: "${text}" is not a URL`, {
      hint: 'It looks like http://127.0.0.1:8700 or https://deploy.example.com',
    });
  }
  if (typeof token !== 'string' || token === '') {
    throw new AppError('unauthorized', `${from} has a URL but no token`, {
      hint: 'Set SLUICE_TOKEN, or "token" in the config file. On the server, `sluice token create NAME` makes one.',
    });
  }
  if (!/^[!-~]+$/.test(token)) {
    throw new AppError('unauthorized', `${from} has a token that no server made`, {
      hint: 'A token has no spaces, line ends or special characters. `sluice token create NAME` makes one on the server.',
    });
  }
  return { kind: 'url', url: new URL(text), token };
}
