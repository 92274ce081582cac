import { readFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import type { Command } from 'commander';
import type { ListedVariable } from '../../api/routes/apps.ts';
import type { VariableChange, VariableChanges } from '../../apps/variable-set.ts';
import { type EnvironmentId, environmentName } from '../../config/paths.ts';
import type { VariablesChange } from '../../deploy/change-variables.ts';
import { AppError } from '../../errors/app-error.ts';
import { counted } from '../../system/text/format.ts';
import {
  appPath,
  appSubcommand,
  type CommonOptions,
  call,
  parseEnvironment,
  show,
  subcommand,
} from '../command.ts';
import { formatEnvText, parseEnvText, type WrittenVariable } from '../env-text.ts';
import { argumentFrom, UsageError } from '../failure.ts';
import { noteText, printError, printRemark } from '../output.ts';
import { cutValues } from '../variable-notes.ts';
import {
  type Difference,
  differences,
  differencesTable,
  hiddenValue,
  isSet,
  variablesTable,
} from '../variables-view.ts';

type ChangeOptions = CommonOptions & { restart: boolean };
type SetOptions = ChangeOptions & { file?: string; plain?: true; build?: true };
type ListOptions = CommonOptions & { show?: true; all?: true };
type CopyOptions = ChangeOptions & { overwrite?: true };

export function registerEnvCommands(program: Command): void {
  const env = program.command('env').description('Manage the environment variables of an app');
  const showValues = ['--show', 'Show the values of secret variables'] as const;
  const noRestart = ['--no-restart', 'Apply the change at the next start, restart or deploy'] as const;
  appSubcommand(env, 'list <app>', 'List variables, their values and origins')
    .option('--show', 'Show values, in the format of .env files; `env set --file -` reads this output')
    .option('--all', 'Include the variables that Sluice itself sets')
    .action(list);
  appSubcommand(env, 'set <app> [name=value...]', 'Set variables, and restart the app with them')
    .option(
      '--file <path>',
      'Read variables from a file such as .env (-: from stdin); arguments take precedence',
    )
    .option('--plain', 'Mark as not secret: logs and lists show the values')
    .option('--build', 'Set for install, build and build hooks only; applies to the next build')
    .option(...noRestart)
    .action(set);
  appSubcommand(env, 'unset <app> <name...>', 'Remove variables, and restart the app without them')
    .option(...noRestart)
    .action(unset);
  subcommand(env, 'diff <app> <other>', 'Compare the variables of two environments')
    .option(...showValues)
    .action(diff);
  subcommand(env, 'copy <from> <to> [name...]', 'Copy variables to another environment, and restart it')
    .option('--overwrite', 'Replace variables that have other values there')
    .option(...noRestart)
    .action(copy);
}

function read(id: EnvironmentId, options: { show?: true; all?: true }): Promise<ListedVariable[]> {
  const { show: isShown = false, all = false } = options;
  return call<ListedVariable[]>('GET', appPath(id, '/variables'), { query: { show: isShown, all } });
}

function list(id: EnvironmentId, options: ListOptions): Promise<void> {
  return show(options, read(id, options), (variables) => {
    if (variables.length === 0) return `${environmentName(id)} has no variables`;
    return options.show ? shownText(variables) : variablesTable(variables);
  });
}

/** Formats variables with their values. Others than those of `sluice env set` are comments, so that only the former are read back. */
function shownText(variables: ListedVariable[]): string {
  const set = variables.filter(isSet);
  const others = variables.filter((variable) => !isSet(variable) && variable.value !== null);
  const comments = others.map((variable) => {
    const of = [variable.origin, ...(variable.processes ?? [])].join(', ');
    return `# ${formatEnvText([written(variable)])}  (${of})`;
  });
  return [formatEnvText(set.map(written)), ...comments.map((comment) => comment.replaceAll('\n', '\n# '))]
    .filter((part) => part !== '')
    .join('\n');
}

/** @throws UsageError if the value is hidden */
function written({ name, value, build, plain, origin }: ListedVariable): WrittenVariable {
  if (value === null)
    throw new UsageError(
      `the value of ${name} is hidden`,
      'Use a token with the scope deploy, which may read values.',
    );
  return { name, value, build, plain: plain && origin === 'sluice env set' };
}

async function set(id: EnvironmentId, pairs: string[], options: SetOptions): Promise<void> {
  const { build = false, plain = false } = options;
  if (build && plain)
    throw new UsageError('--build and --plain exclude each other', 'A build-only variable is always secret.');
  const content = await readText(options.file);
  const cut = cutValues(content);
  if (cut.length > 0) {
    printError(
      noteText({
        message: `the ${cut.length === 1 ? 'value' : 'values'} of ${cut.join(', ')} in ${options.file} end${cut.length === 1 ? 's' : ''} at "#"`,
        hint: 'A comment begins there. If the "#" belongs to the value, write quotes around the value.',
      }),
    );
  }
  const named = pairs.map((pair, index) => {
    const at = pair.indexOf('=');
    // The message does not quote the argument: it may be a secret, and the output may go to the log of a CI job.
    if (at < 1)
      throw new UsageError(
        `argument ${index + 1} after the app has no NAME= before the value`,
        'Write NAME=value, with quotes around a value that has spaces.',
      );
    return { name: pair.slice(0, at), value: pair.slice(at + 1), build, plain };
  });
  const ofFile = parseEnvText(content).map((variable) =>
    build || plain ? { ...variable, build, plain } : variable,
  );
  const all = [...ofFile, ...named];
  if (all.length === 0)
    throw new UsageError(
      'no variables given',
      'Write NAME=value, or name a file with variables: --file .env',
    );
  await change(id, changesOf(all), options);
}

/** Reads a file; stdin for `-`. */
async function readText(file: string | undefined): Promise<string> {
  if (file === undefined) return '';
  return file === '-' ? text(process.stdin) : argumentFrom(readFile(file, 'utf8'), '--file');
}

function changesOf(variables: WrittenVariable[]): VariableChanges {
  return Object.fromEntries(
    variables.map(({ name, value, build, plain }) => {
      const ofKind = { value, ...(build && { build }), ...(plain && { plain }) };
      return [name, (build || plain ? ofKind : value) satisfies VariableChange];
    }),
  );
}

function unset(id: EnvironmentId, names: string[], options: ChangeOptions): Promise<void> {
  return change(id, Object.fromEntries(names.map((each) => [each, null])), options);
}

/** @param changes values by name; null removes a variable */
function change(id: EnvironmentId, changes: VariableChanges, options: ChangeOptions): Promise<void> {
  const query = { restart: options.restart };
  const answer = call<VariablesChange>('PATCH', appPath(id, '/env'), { query, json: changes });
  return show(options, answer, ({ changed, outcome, rebuild, notices }) => {
    const lines = Object.entries(changes).map(([key, value]) => {
      if (changed.includes(key)) return `${key} ${value === null ? 'removed' : 'set'}`;
      return value === null ? `${key} was not set` : `${key} is unchanged`;
    });
    const name = environmentName(id);
    const notes = [...buildNotes(rebuild, name), ...notices.map(noteText)];
    return [...lines, describe(outcome, name, options.restart), ...notes].join('\n');
  });
}

/** Returns a note if the live release was built with other values. */
function buildNotes(names: string[], name: string): string[] {
  if (names.length === 0) return [];
  return [
    noteText({
      message: `the live release was built with other values of ${names.join(', ')}: the change takes effect with the next deploy`,
      hint: `Push the next commit. To build the live commit again: sluice deploy --app ${name} --release NUMBER, with its number in \`sluice releases ${name}\`.`,
    }),
  ];
}

function describe(outcome: VariablesChange['outcome'], name: string, restart: boolean): string {
  const change = restart ? `${name} does not run: the change` : 'The change';
  const effects = {
    switched: `${name} now runs with the new variables.`,
    kept: `${change} applies from the next start, restart or deploy of ${name}.`,
    built: `The next build of ${name} has these variables. The running app does not get them.`,
    undeployed: `${name} is new: its first deploy will have these variables.`,
    unchanged: `Nothing has changed, and ${name} was not switched.`,
  };
  return effects[outcome];
}

function diff(first: string, second: string, options: ListOptions): Promise<void> {
  const ids = [parseEnvironment(first), parseEnvironment(second)] as const;
  const compared = Promise.all(ids.map((id) => read(id, { show: true }))).then(([one = [], other = []]) => {
    const { equal, different } = differences(one.map(known), other.map(known));
    return { equal, different: options.show ? different : different.map(hidden) };
  });
  const [one, other] = ids.map(environmentName) as [string, string];
  return show(options, compared, (outcome) => differencesTable(outcome, one, other));
}

/** Returns a variable whose value can be compared. @throws UsageError */
function known(variable: ListedVariable): ListedVariable {
  return { ...variable, value: written(variable).value };
}

function hidden({ name, values, plain }: Difference): Difference {
  return plain
    ? { name, values, plain }
    : { name, values: values.map((value) => value && hiddenValue), plain };
}

async function copy(from: string, to: string, names: string[], options: CopyOptions): Promise<void> {
  const [source, target] = [parseEnvironment(from), parseEnvironment(to)];
  const [fromName, toName] = [environmentName(source), environmentName(target)];
  const available = (await read(source, { show: true })).filter(isSet).map(written);
  const missing = names.filter((name) => !available.some((variable) => variable.name === name));
  if (missing.length > 0)
    throw new UsageError(
      `${fromName} has no variable ${missing.join(', ')} of \`sluice env set\``,
      `List its variables: \`sluice env list ${fromName}\`.`,
    );
  const chosen = names.length === 0 ? available : available.filter(({ name }) => names.includes(name));
  if (chosen.length === 0)
    throw new UsageError(
      `${fromName} has no variables to copy`,
      `Set some: \`sluice env set ${fromName} NAME=value\`.`,
    );
  const present = (await readIfAny(target)).filter(isSet);
  const conflicts = chosen.filter(({ name, value }) =>
    present.some((other) => other.name === name && other.value !== value),
  );
  if (conflicts.length > 0 && !options.overwrite)
    throw new UsageError(
      `${toName} has other values of ${conflicts.map(({ name }) => name).join(', ')}; nothing was copied`,
      'Name the variables to copy, or replace the values there: --overwrite.',
    );
  if (!options.json) printRemark(`${counted(chosen.length, 'variable')} of ${fromName} to ${toName}`);
  await change(target, changesOf(chosen), options);
}

/** Reads the variables of an environment; none if it does not exist yet. */
async function readIfAny(id: EnvironmentId): Promise<ListedVariable[]> {
  try {
    return await read(id, { show: true });
  } catch (error) {
    if (error instanceof AppError && error.code === 'app_not_found') return [];
    throw error;
  }
}
