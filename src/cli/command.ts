import type { Command } from 'commander';
import { ApiClient, type CallOptions } from '../client/api-client.ts';
import { findServer, plainHttpWarning } from '../client/server-address.ts';
import { defaultEnvironment, type EnvironmentId, isName } from '../config/paths.ts';
import { UsageError } from './failure.ts';
import { paint, print, printError, printJson } from './output.ts';

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

/** Adds a subcommand about one app. Its action gets an EnvironmentId instead of the argument `app`. */
export function appSubcommand(parent: Command, usage: string, description: string): Command {
  return subcommand(parent, usage, description)
    .option('-e, --environment <name>', 'Environment of the app (default: production); same as `APP@NAME`')
    .hook('preAction', (command) => {
      const [argument] = command.registeredArguments;
      const [name] = command.processedArgs;
      if (argument?.name() !== 'app' || name === undefined) return;
      command.processedArgs[0] = parseEnvironment(name, command.opts<AppOptions>().environment);
    });
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

/** Content type of an answer with one JSON value a line. */
export const ndjson = 'application/x-ndjson';

let client: Promise<ApiClient> | undefined;

/** Returns the client of the server that the user means. */
export function connect(): Promise<ApiClient> {
  client ??= createClient();
  return client;
}

async function createClient(): Promise<ApiClient> {
  const address = await findServer();
  const warning = plainHttpWarning(address);
  if (warning !== undefined)
    printError(`${paint('yellow', `warning: ${warning.message}`, process.stderr)}\n  ${warning.hint}`);
  return new ApiClient(address);
}

/** Calls the API. */
export async function call<Answer>(method: string, path: string, options?: CallOptions): Promise<Answer> {
  return (await connect()).call<Answer>(method, path, options);
}

/** Waits for the outcome of a command, and prints it: as JSON with `--json`, and otherwise its description. */
export async function show<Outcome>(
  { json }: CommonOptions,
  outcome: Outcome | Promise<Outcome>,
  describe: (outcome: Outcome) => string,
): Promise<void> {
  const value = await outcome;
  if (json) printJson(value);
  else print(describe(value));
}

/** Returns an action that shows what the API answers at a path. */
export function listing<Answer>(path: string, describe: (answer: Answer) => string) {
  return (options: CommonOptions): Promise<void> => show(options, call<Answer>('GET', path), describe);
}

/**
 * Returns an action that removes something by its name.
 * @param done field of the JSON outcome
 * @param effect on what the name is of, for people
 */
export function removal(path: string, done: 'removed' | 'revoked', effect: string) {
  return async (name: string, options: CommonOptions): Promise<void> => {
    await call('DELETE', `${path}/${encodeURIComponent(name)}`);
    await show(options, { name, [done]: true }, () => `${name} ${effect}`);
  };
}

/** Returns the path of an environment in the API. @param rest of the path after the app */
export function appPath({ app, environment }: EnvironmentId, rest = ''): string {
  return `/v1/apps/${app}${rest}?environment=${environment}`;
}
