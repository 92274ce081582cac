import type { Command } from 'commander';
import type { ApiClient, CallOptions } from '../client/api-client.ts';
import { defaultEnvironment, type EnvironmentId, isName } from '../config/paths.ts';
import { UsageError } from './failure.ts';

export interface CommonOptions {
  json?: true;
}

export interface AppOptions extends CommonOptions {
  environment?: string;
}

/** Adds a subcommand, with the options that all subcommands have. */
export function subcommand(parent: Command, usage: string, description: string): Command {
  return parent.command(usage).description(description).option('--json', 'Print the outcome as JSON');
}

/** Adds a subcommand about one app. */
export function appSubcommand(parent: Command, usage: string, description: string): Command {
  return subcommand(parent, usage, description).option(
    '-e, --environment <name>',
    'Environment of the app (default: production); same as `APP@NAME`',
  );
}

/**
 * Parses the name of an app and an environment: `shop`, `shop@staging`, or `shop` with `--environment staging`.
 * @throws UsageError
 */
export function parseEnvironment(text: string, option?: string): EnvironmentId {
  const [app = '', written, ...more] = text.split('@');
  if (written !== undefined && option !== undefined && written !== option) {
    throw new UsageError(`${text} and --environment ${option} name two environments`);
  }
  const environment = written ?? option ?? defaultEnvironment;
  if (!isName(app) || more.length > 0) throw invalidName(text, 'an app');
  if (!isName(environment)) throw invalidName(environment, 'an environment');
  return { app, environment };
}

function invalidName(text: string, what: string): UsageError {
  return new UsageError(
    `invalid name of ${what}: "${text}"`,
    'A name has lower-case letters, digits and "-", and starts with a letter: shop, or shop@staging for an environment of it.',
  );
}

/** Parses a whole number. @param name of the argument, for the message. @throws UsageError */
export function wholeNumber(text: string, name: string, { minimum = 1 } = {}): number {
  if (isWholeNumber(text, minimum)) return Number(text);
  throw new UsageError(`invalid ${name}: "${text}" (expected a whole number from ${minimum})`);
}

export function isWholeNumber(text: string, minimum: number, maximum = 999_999_999): boolean {
  return /^\d{1,9}$/.test(text) && Number(text) >= minimum && Number(text) <= maximum;
}

let client: Promise<ApiClient> | undefined;

/** Returns the client of the server that the user means. Loads it late: `--help` needs none. */
export function connect(): Promise<ApiClient> {
  client ??= createClient();
  return client;
}

async function createClient(): Promise<ApiClient> {
  const [{ ApiClient }, { findServer, plainHttpWarning }, { printError, paint }] = await Promise.all([
    import('../client/api-client.ts'),
    import('../client/server-address.ts'),
    import('./output.ts'),
  ]);
  const address = await findServer();
  const warning = plainHttpWarning(address);
  if (warning !== undefined) {
    const { message, hint } = warning;
    printError(`${paint('yellow', `warning: ${message}`, process.stderr)}\n  ${hint}`);
  }
  return new ApiClient(address);
}

/** Calls the API about one environment of an app. @param rest of the path after the app */
export async function callApp<Answer>(
  method: string,
  id: EnvironmentId,
  rest: string,
  options: CallOptions = {},
): Promise<Answer> {
  const query = { ...options.query, environment: id.environment };
  return (await connect()).call(method, appPath(id, rest), { ...options, query });
}

/** Returns the path of an app in the API. */
export function appPath({ app }: EnvironmentId, rest: string): string {
  return `/v1/apps/${encodeURIComponent(app)}${rest}`;
}
