import type { Word } from '../../releases/words.ts';
import { NeedsShell, type Options, takeOptions, valuesOf } from './options.ts';
import { manifestFor } from './project.ts';
import { type CommandSource, type Trail, unsupportedStart } from './trail.ts';
import { type Behind, isGiven, type Wrapper } from './wrappers.ts';

/** Package managers: they run a script of package.json, or a program of a package. */
export const managers: Record<string, Wrapper> = {
  npm,
  pnpm,
  yarn,
  bun,
  npx: download,
  pnpx: download,
  bunx: download,
};

const ofNpm = '--prefix -C -w --workspace --loglevel --userconfig --registry --cache';
const ofPnpm = '--filter -F --filter-prod -C --dir --loglevel --reporter --workspace-concurrency';
const ofYarn = '--cwd --modules-folder --registry --cache-folder';

async function npm(words: Word[], trail: Trail, source: CommandSource): Promise<Behind> {
  const options = takeOptions(words, ofNpm);
  refuseMembers(options, source, '-w', '--workspace', '--workspaces', '-ws', '--prefix', '-C');
  const [command, ...rest] = options.rest;
  if (command === 'exec' || command === 'x') return download(rest, trail);
  const runs = command === 'run' || command === 'run-script' || command === 'rum';
  if (!runs && command !== 'start') throw unsupportedStart(source, notAScript('npm'));
  // npm takes options after the name of the script, too; arguments of the script follow `--`.
  const after = takeOptions(rest, ofNpm);
  refuseMembers(after, source, '-w', '--workspace', '--workspaces', '-ws', '--prefix', '-C');
  const [name = undefined, ...args] = runs ? after.rest : ['start', ...after.rest];
  if (typeof name !== 'string') throw unsupportedStart(source, notAScript('npm'));
  const more = runs ? takeOptions(args, ofNpm) : undefined;
  if (more !== undefined) refuseMembers(more, source, '-w', '--workspace', '--prefix');
  return { script: name, args: more?.rest ?? args };
}

async function pnpm(words: Word[], trail: Trail, source: CommandSource): Promise<Behind> {
  const options = takeOptions(words, ofPnpm);
  refuseMembers(
    options,
    source,
    '--filter',
    '-F',
    '--filter-prod',
    '-r',
    '--recursive',
    '-C',
    '--dir',
    '-w',
    '--workspace-root',
  );
  const [command, ...rest] = options.rest;
  if (command === 'dlx') return download(rest, trail);
  if (command === 'exec') return { words: takeOptions(rest).rest };
  if (command === 'node') return { words: ['node', ...rest] };
  if (command !== 'run' && command !== 'run-script')
    return scriptOrProgram([command, ...rest], trail, source, 'pnpm');
  return named(takeOptions(rest, ofPnpm).rest, source, 'pnpm');
}

async function yarn(words: Word[], trail: Trail, source: CommandSource): Promise<Behind> {
  const options = takeOptions(words, ofYarn);
  refuseMembers(options, source, '--cwd');
  const [command, ...rest] = options.rest;
  if (command === 'workspace' || command === 'workspaces')
    throw new NeedsShell('it starts a workspace member');
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

/** Node.js runs what bun would run. */
async function bun(words: Word[], trail: Trail, source: CommandSource): Promise<Behind> {
  const options = takeOptions(words, '--filter -F --cwd --env-file -r --preload -c --config');
  refuseMembers(options, source, '--filter', '-F', '--cwd');
  if (isGiven(options, '--watch', '--hot')) trail.development = source.text;
  const [command, ...rest] = options.rest;
  if (command === 'x') return download(rest, trail);
  const [name, ...args] = command === 'run' ? takeOptions(rest, '--filter --cwd').rest : options.rest;
  if (typeof name === 'string' && /\.[cm]?[jt]sx?$/.test(name)) return { words: ['node', name, ...args] };
  return scriptOrProgram([name, ...args], trail, source, 'bun');
}

/** npx and its relatives run a program of an installed package, or download the package. */
function download(words: Word[], trail: Trail): Behind {
  const options = takeOptions(words, '-p --package -c --call -w --workspace');
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
  if (typeof name !== 'string' || name.startsWith('-')) throw unsupportedStart(source, notAScript(manager));
  const rest = args as Word[];
  return { script: name, args: rest[0] === '--' ? rest.slice(1) : rest };
}

function notAScript(manager: string): string {
  return `Sluice supports ${manager} only with "start", or with "run" and the name of a script`;
}

/** Scripts of workspace members run in exec mode. */
function refuseMembers(options: Options, _source: CommandSource, ...names: string[]): void {
  if (isGiven(options, ...names)) throw new NeedsShell('it starts a workspace member');
}
