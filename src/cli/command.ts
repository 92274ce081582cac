import type { Command } from 'commander';
import type { EnvironmentId } from '../config/paths.ts';
import type { ApiClient, CallOptions } from './client.ts';
import { appPath } from './target.ts';

export interface CommonOptions {
  json?: true;
}

export interface AppOptions extends CommonOptions {
  environment?: string;
}

/** A subcommand, with what all of them have. */
export function subcommand(parent: Command, usage: string, description: string): Command {
  return parent.command(usage).description(description).option('--json', 'print the outcome as JSON');
}

/** A subcommand about one app. */
export function appSubcommand(parent: Command, usage: string, description: string): Command {
  return subcommand(parent, usage, description).option(
    '-e, --environment <name>',
    'environment of the app, production unless named; `APP@NAME` says the same',
  );
}

/** A client for the server that is meant. Loaded late: `--help` needs none. */
export async function connect(): Promise<ApiClient> {
  const [{ ApiClient }, { findServer }, { warnOfPlainHttp }] = await Promise.all([
    import('./client.ts'),
    import('./server-address.ts'),
    import('./unencrypted.ts'),
  ]);
  const address = await findServer();
  warnOfPlainHttp(address);
  return new ApiClient(address);
}

/** Calls the API about one app in one environment. */
export async function callApp<Answer>(
  method: string,
  target: EnvironmentId,
  rest: string,
  options: CallOptions = {},
): Promise<Answer> {
  const query = { ...options.query, environment: target.environment };
  return (await connect()).call(method, appPath(target, rest), { ...options, query });
}
