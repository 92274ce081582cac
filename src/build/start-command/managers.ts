import type { Word } from '../../releases/words.ts';
import { enterMember, membersAround } from './members.ts';
import { NeedsShell, type Options, takeOptions, valuesOf } from './options.ts';
import { manifestFor } from './project.ts';
import { type CommandSource, changeDirectory, type Trail, unsupportedStart } from './trail.ts';
import { type Behind, isGiven, type Wrapper } from './wrappers.ts';

/** Package managers: they run a script of package.json, or a program of a package. */
export const managers: Record<string, Wrapper> = {
  npm,
  pnpm,
  yarn,
  bun,
  npx,
  pnpx: download,
  bunx: download,
};

const ofNpm = '--prefix -C -w --workspace --loglevel --userconfig --registry --cache';
const ofPnpm = '--filter -F --filter-prod -C --dir --loglevel --reporter --workspace-concurrency';
const ofYarn = '--cwd --modules-folder --registry --cache-folder';
const ofBun = '--filter -F --cwd --env-file -r --preload -c --config';

async function npm(words: Word[], trail: Trail, source: CommandSource): Promise<Behind> {
  // npm takes its options in any place; arguments of the script follow `--`.
  const before = takeOptions(words, ofNpm);
  const [command, ...others] = before.rest;
  const runs = command === 'run' || command === 'run-script' || command === 'rum';
  const executes = command === 'exec' || command === 'x';
  if (!runs && !executes && command !== 'start') throw unsupportedStart(source, notAScript('npm'));
  const after = takeOptions(others, ofNpm);
  const [name = undefined, ...args] = runs || executes ? after.rest : ['start', ...after.rest];
  const more = executes ? undefined : takeOptions(args, ofNpm);
  const given = [before, after, ...(more === undefined ? [] : [more])];
  if (typeof name === 'object' && !executes) throw new NeedsShell('a variable names the script');
  if (name === undefined && !executes) throw unsupportedStart(source, notAScript('npm'));
  await enter(given, trail, source, executes ? undefined : `${name}`, {
    directory: ['--prefix', '-C'],
    member: ['-w', '--workspace'],
    all: ['-ws', '--workspaces'],
  });
  return executes ? download(others, trail) : { script: `${name}`, args: more?.rest ?? args };
}

async function pnpm(words: Word[], trail: Trail, source: CommandSource): Promise<Behind> {
  const before = takeOptions(words, ofPnpm);
  const [command, ...others] = before.rest;
  const runs = command === 'run' || command === 'run-script';
  const after = runs || command === 'exec' ? takeOptions(others, ofPnpm) : undefined;
  const name = runs ? after?.rest[0] : command;
  const isProgram = command === 'exec' || command === 'node' || command === 'dlx';
  const given = [before, ...(after === undefined ? [] : [after])];
  if (isGivenIn(given, '-w', '--workspace-root')) {
    trail.directory = (await membersAround(trail.project, trail.directory)).workspace || '.';
  }
  await enter(given, trail, source, isProgram || typeof name !== 'string' ? undefined : name, {
    directory: ['-C', '--dir'],
    member: ['--filter', '-F', '--filter-prod'],
    all: ['-r', '--recursive'],
  });
  if (command === 'dlx') return download(others, trail);
  if (command === 'exec') return { words: after?.rest ?? [] };
  if (command === 'node') return { words: ['node', ...others] };
  return runs
    ? named(after?.rest ?? [], source, 'pnpm')
    : scriptOrProgram([command, ...others], trail, source, 'pnpm');
}

async function yarn(words: Word[], trail: Trail, source: CommandSource): Promise<Behind> {
  const options = takeOptions(words, ofYarn);
  await enter([options], trail, source, undefined, { directory: ['--cwd'] });
  const [command, ...rest] = options.rest;
  if (command === 'workspace') return await yarnWorkspace(rest, trail, source);
  if (command === 'workspaces') return await yarnWorkspaces(rest, trail, source);
  if (command === 'dlx') return download(rest, trail);
  if (command === 'exec') return { words: takeOptions(rest).rest };
  if (command === 'node') return { words: ['node', ...rest] };
  return scriptOrProgram(
    command === 'run' ? takeOptions(rest).rest : [command, ...rest],
    trail,
    source,
    'yarn',
  );
}

/** `yarn workspace web start`: the words after the name are those of yarn in the member. */
async function yarnWorkspace([name, ...rest]: Word[], trail: Trail, source: CommandSource): Promise<Behind> {
  if (typeof name !== 'string') throw new NeedsShell('a variable names the member');
  await enterMember(trail, source, [name], undefined);
  return await yarn(rest, trail, source);
}

/** `yarn workspaces foreach --include web run start`, and `yarn workspaces run start` of yarn 1. */
async function yarnWorkspaces(
  [command, ...rest]: Word[],
  trail: Trail,
  source: CommandSource,
): Promise<Behind> {
  const options = takeOptions(rest, '--include --exclude --from -j --jobs');
  const words = command === 'foreach' ? options.rest : ['run', ...rest];
  const [run, script, ...args] = words;
  if (run !== 'run' || typeof script !== 'string')
    throw new NeedsShell('yarn runs a command in several members');
  await enterMember(trail, source, valuesOf(options, '--include') ?? [], script);
  return { script, args };
}

/** Node.js runs what bun would run. */
async function bun(words: Word[], trail: Trail, source: CommandSource): Promise<Behind> {
  const before = takeOptions(words, ofBun);
  if (isGiven(before, '--watch', '--hot')) trail.development = source.text;
  const [command, ...rest] = before.rest;
  if (command === 'x') return download(rest, trail);
  const after = command === 'run' ? takeOptions(rest, ofBun) : undefined;
  const [name, ...args] = after?.rest ?? before.rest;
  const script = typeof name === 'string' ? name : undefined;
  await enter([before, ...(after === undefined ? [] : [after])], trail, source, script, {
    directory: ['--cwd'],
    member: ['--filter', '-F'],
  });
  if (script !== undefined && /\.[cm]?[jt]sx?$/.test(script)) return { words: ['node', script, ...args] };
  return scriptOrProgram([name, ...args], trail, source, 'bun');
}

/** Options of a package manager that name another directory, by effect. */
interface PlaceOptions {
  directory: string[];
  member?: string[];
  /** options that run the script of each member that has it */
  all?: string[];
}

/** Enters the directory and the workspace member that the options of a package manager name. */
async function enter(
  given: Options[],
  trail: Trail,
  source: CommandSource,
  script: string | undefined,
  { directory, member = [], all = [] }: PlaceOptions,
): Promise<void> {
  const valuesIn = (names: string[]) => given.flatMap((options) => valuesOf(options, ...names) ?? []);
  for (const path of valuesIn(directory)) changeDirectory(trail, path, source);
  const selectors = valuesIn(member);
  if (selectors.length > 0 || isGivenIn(given, ...all)) await enterMember(trail, source, selectors, script);
}

function isGivenIn(given: Options[], ...names: string[]): boolean {
  return given.some((options) => isGiven(options, ...names));
}

/** npx and its relatives run a program of an installed package, or download the package. */
async function npx(words: Word[], trail: Trail, source: CommandSource): Promise<Behind> {
  const options = takeOptions(words, ofNpx);
  await enter([options], trail, source, undefined, {
    directory: ['--prefix'],
    member: ['-w', '--workspace'],
  });
  return download(words, trail);
}

const ofNpx = '-p --package -c --call -w --workspace --prefix';

function download(words: Word[], trail: Trail): Behind {
  const options = takeOptions(words, ofNpx);
  const call = valuesOf(options, '-c', '--call')?.[0];
  if (call !== undefined) return { text: call };
  trail.mayDownload = true;
  const [name, ...rest] = options.rest;
  if (typeof name !== 'string') throw new NeedsShell('a variable names the program');
  const program = name.replace(/(?<=.)@[^/]*$/, '');
  return { words: [program.replace(/^@[^/]+\//, ''), ...(rest[0] === '--' ? rest.slice(1) : rest)] };
}

/** Returns the script with this name, or else the program of a package. */
async function scriptOrProgram(
  words: (Word | undefined)[],
  trail: Trail,
  source: CommandSource,
  manager: string,
): Promise<Behind> {
  const [name] = words;
  const found = await manifestFor(trail.project, trail.directory);
  const isScript =
    name === 'start' || (typeof name === 'string' && found?.manifest.scripts[name] !== undefined);
  return isScript || words.length === 1 ? named(words, source, manager) : { words: words as Word[] };
}

function named([name, ...args]: (Word | undefined)[], source: CommandSource, manager: string): Behind {
  if (typeof name === 'object') throw new NeedsShell('a variable names the script');
  if (typeof name !== 'string' || name.startsWith('-')) throw unsupportedStart(source, notAScript(manager));
  const rest = args as Word[];
  return { script: name, args: rest[0] === '--' ? rest.slice(1) : rest };
}

function notAScript(manager: string): string {
  return `Sluice supports ${manager} only with "start", or with "run" and the name of a script`;
}
