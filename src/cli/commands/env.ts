import { readFile } from 'node:fs/promises';
import { parseEnv } from 'node:util';
import type { Command } from 'commander';
import { type EnvironmentId, environmentName } from '../../config/paths.ts';
import type { VariablesChange } from '../../deploy/change-variables.ts';
import { appPath, appSubcommand, type CommonOptions, call, show } from '../command.ts';
import { argumentFrom, UsageError } from '../failure.ts';
import { noteText, printError } from '../output.ts';
import { buildTimeVariables, cutValues } from '../variable-notes.ts';

type Variables = Record<string, string>;
type ChangeOptions = CommonOptions & { restart: boolean; file?: string };

export function registerEnvCommands(program: Command): void {
  const env = program.command('env').description('Manage the environment variables of an app');
  appSubcommand(env, 'list <app>', 'List variables and their values').action(list);
  const noRestart = ['--no-restart', 'Apply the change at the next start, restart or deploy'] as const;
  appSubcommand(env, 'set <app> [name=value...]', 'Set variables, and restart the app with them')
    .option('--file <path>', 'Read variables from a file such as .env; arguments take precedence')
    .option(...noRestart)
    .action(set);
  appSubcommand(env, 'unset <app> <name...>', 'Remove variables, and restart the app without them')
    .option(...noRestart)
    .action(unset);
}

function list(id: EnvironmentId, options: CommonOptions): Promise<void> {
  return show(options, call<Variables>('GET', appPath(id, '/env')), (variables) => {
    const lines = Object.entries(variables).map(([key, value]) => `${key}=${value}`);
    return lines.join('\n') || `${environmentName(id)} has no variables`;
  });
}

async function set(id: EnvironmentId, pairs: string[], options: ChangeOptions): Promise<void> {
  const text = options.file === undefined ? '' : await argumentFrom(readFile(options.file, 'utf8'), '--file');
  const cut = cutValues(text);
  if (cut.length > 0) {
    printError(
      noteText({
        message: `the ${cut.length === 1 ? 'value' : 'values'} of ${cut.join(', ')} in ${options.file} end${cut.length === 1 ? 's' : ''} at "#"`,
        hint: 'A comment begins there. If the "#" belongs to the value, write quotes around the value.',
      }),
    );
  }
  const changes = pairs.map((pair, index) => {
    const at = pair.indexOf('=');
    // The message does not quote the argument: it may be a secret, and the output may go to the log of a CI job.
    if (at < 1)
      throw new UsageError(
        `argument ${index + 1} after the app has no NAME= before the value`,
        'Write NAME=value, with quotes around a value that has spaces.',
      );
    return [pair.slice(0, at), pair.slice(at + 1)] as const;
  });
  const all = { ...parseEnv(text), ...Object.fromEntries(changes) } as Variables;
  if (Object.keys(all).length === 0)
    throw new UsageError(
      'no variables given',
      'Write NAME=value, or name a file with variables: --file .env',
    );
  await change(id, all, options);
}

function unset(id: EnvironmentId, names: string[], options: ChangeOptions): Promise<void> {
  return change(id, Object.fromEntries(names.map((each) => [each, null])), options);
}

/** @param changes values by name; null removes a variable */
function change(
  id: EnvironmentId,
  changes: Record<string, string | null>,
  options: ChangeOptions,
): Promise<void> {
  const query = { restart: options.restart };
  const answer = call<VariablesChange>('PATCH', appPath(id, '/env'), { query, json: changes });
  return show(options, answer, ({ changed, outcome }) => {
    const lines = Object.entries(changes).map(([key, value]) => {
      if (changed.includes(key)) return `${key} ${value === null ? 'removed' : 'set'}`;
      return value === null ? `${key} was not set` : `${key} is unchanged`;
    });
    const name = environmentName(id);
    return [...lines, describe(outcome, name, options.restart), ...buildNotes(changed, outcome, name)].join(
      '\n',
    );
  });
}

/** Returns a note if the live release was built with other values of variables that its build writes into files. */
function buildNotes(changed: string[], outcome: VariablesChange['outcome'], name: string): string[] {
  const names = outcome === 'undeployed' ? [] : buildTimeVariables(changed);
  if (names.length === 0) return [];
  return [
    noteText({
      message: `the build writes ${names.join(', ')} into the files for browsers: the change takes effect with the next deploy`,
      hint: `Push the next commit. To build the live commit again: sluice deploy --app ${name} --release NUMBER, with its number in \`sluice releases ${name}\`.`,
    }),
  ];
}

function describe(outcome: VariablesChange['outcome'], name: string, restart: boolean): string {
  const change = restart ? `${name} does not run: the change` : 'The change';
  const effects = {
    switched: `${name} now runs with the new variables.`,
    kept: `${change} applies from the next start, restart or deploy of ${name}.`,
    undeployed: `${name} is new: its first deploy will have these variables.`,
    unchanged: `Nothing has changed, and ${name} was not switched.`,
  };
  return effects[outcome];
}
