import { readFile } from 'node:fs/promises';
import { parseEnv } from 'node:util';
import type { Command } from 'commander';
import { environmentName } from '../../config/paths.ts';
import type { EnvironmentChange } from '../../deploy/change-variables.ts';
import { type AppOptions, appSubcommand, callApp } from '../command.ts';
import { UsageError } from '../failure.ts';
import { print, printJson } from '../output.ts';
import { parseTarget } from '../target.ts';

type Variables = Record<string, string>;
type ChangeOptions = AppOptions & { restart: boolean };

export function registerEnvCommands(program: Command): void {
  const env = program.command('env').description('the environment variables of an app');
  appSubcommand(env, 'list <app>', 'the variables and their values').action(list);
  const noRestart = [
    '--no-restart',
    'change nothing that runs: it applies from the next start, restart or deploy',
  ] as const;
  appSubcommand(env, 'set <app> [name=value...]', 'set variables, and apply them by a switch')
    .option('--file <path>', 'those of a file such as .env too; what is named beside it wins')
    .option(...noRestart)
    .action(set);
  appSubcommand(env, 'unset <app> <name...>', 'remove variables, and apply that by a switch')
    .option(...noRestart)
    .action(unset);
}

async function list(name: string, options: AppOptions): Promise<void> {
  const target = parseTarget(name, options.environment);
  const variables = await callApp<Variables>('GET', target, '/env');
  if (options.json) return printJson(variables);
  const lines = Object.entries(variables).map(([key, value]) => `${key}=${value}`);
  print(lines.length === 0 ? `${environmentName(target)} has no variables` : lines.join('\n'));
}

async function set(name: string, pairs: string[], options: ChangeOptions & { file?: string }): Promise<void> {
  const fromFile = options.file === undefined ? {} : await variablesIn(options.file);
  const changes = pairs.map((pair, index) => {
    const at = pair.indexOf('=');
    // The message does not quote the argument: it may be a secret, and the output may go to the log of a CI job.
    if (at < 1)
      throw new UsageError(
        `Argument ${index + 1} after the app has no NAME= before the value.`,
        'Write NAME=value, with quotes around a value that has spaces.',
      );
    return [pair.slice(0, at), pair.slice(at + 1)] as const;
  });
  const all = { ...fromFile, ...Object.fromEntries(changes) };
  if (Object.keys(all).length === 0) {
    throw new UsageError('there is nothing to set', 'Write NAME=value, or --file .env where that has any.');
  }
  await change(name, all, options);
}

/** As `node --env-file` reads them. */
async function variablesIn(path: string): Promise<Variables> {
  const text = await readFile(path, 'utf8').catch((error: Error) => {
    throw new UsageError(`--file cannot be read: ${error.message}`);
  });
  return parseEnv(text) as Variables;
}

function unset(name: string, names: string[], options: ChangeOptions): Promise<void> {
  return change(name, Object.fromEntries(names.map((each) => [each, null])), options);
}

async function change(
  name: string,
  changes: Record<string, string | null>,
  options: ChangeOptions,
): Promise<void> {
  const target = parseTarget(name, options.environment);
  const query = { restart: options.restart };
  const answer = await callApp<EnvironmentChange>('PATCH', target, '/env', { query, json: changes });
  if (options.json) return printJson(answer);
  for (const [key, value] of Object.entries(changes)) {
    if (answer.changed.includes(key)) print(`${key} ${value === null ? 'removed' : 'set'}`);
    else print(value === null ? `${key} was not set` : `${key} is as it was`);
  }
  print(tell(answer.outcome, environmentName(target), options.restart));
}

function tell(outcome: EnvironmentChange['outcome'], name: string, restart: boolean): string {
  switch (outcome) {
    case 'switched':
      return `Applied: ${name} was switched to fresh workers.`;
    case 'kept':
      return `${restart ? `${name} does not run: it` : 'It'} applies from the next start, restart or deploy of ${name}.`;
    case 'undeployed':
      return `${name} is new: its first deploy will have these variables.`;
    case 'unchanged':
      return `Nothing has changed, and ${name} was not switched.`;
  }
}
