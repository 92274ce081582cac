import { join } from 'node:path';
import { AppError } from '../../errors/app-error.ts';
import type { Word } from '../../releases/words.ts';
import { managers } from './managers.ts';
import { monorepoTools } from './monorepo-tools.ts';
import { type NodeCommand, parseNode, parseRuntime, runtimes } from './node-arguments.ts';
import { NeedsShell } from './options.ts';
import { isPm2Chore, processManagers, watchers } from './process-managers.ts';
import {
  developmentCommands,
  isIn,
  otherLanguages,
  programName,
  startsOthers,
  systemPrograms,
} from './programs.ts';
import { manifestFor, type Project } from './project.ts';
import { withWords } from './quote.ts';
import { scriptRunners } from './script-runners.ts';
import { servingScript } from './serving-script.ts';
import { type CommandLine, commandsOf, parseCommandLine } from './shell.ts';
import { divideSteps, takeStep } from './steps.ts';
import { addNotice, type CommandSource, newTrail, type Trail, unsupportedStart } from './trail.ts';
import { inDirectoryOfFiles } from './working-directory.ts';
import { type Behind, type Wrapper, wrappers } from './wrappers.ts';

/**
 * What a command comes to: a file for Node.js, a file that names its own interpreter, a program of a package, or a command that
 * only a shell can run.
 */
export type Target =
  | { kind: 'file' | 'executable' | 'bin'; name: string }
  | { kind: 'shell'; reason: string };

/** Command behind a start command: Sluice has followed scripts, and seen through other programs. */
export interface FoundCommand
  extends CommandSource,
    Omit<Trail, 'project' | 'fromScript' | 'scripts' | 'keep' | 'steps'> {
  target: Target;
  nodeArgs: Word[];
  args: Word[];
  keep: string[];
  /** shell commands that run once before the workers start */
  before: string[];
  /** shell commands that belong to the build */
  builds: string[];
  /** the command as written, for a shell */
  shell: string;
}

type Found = CommandSource & Pick<FoundCommand, 'target' | 'nodeArgs' | 'args' | 'shell'>;

/** Limit of scripts and texts that follow each other. */
const maxDepth = 16;

const seenThrough: Record<string, Wrapper> = {
  ...wrappers,
  ...processManagers,
  ...managers,
  ...monorepoTools,
  ...scriptRunners,
};

/**
 * Follows a command to the file that it runs: through scripts of package.json, and through programs such as `cross-env`. Reads
 * files, but does not look for the target.
 * @param from source of the command, for messages
 * @param fromScript returns the name of a script, for messages
 * @param anyProgram true for a command that may run a program that is not for Node.js
 * @throws AppError `unsupported_start`
 */
export async function followCommand(
  project: Project,
  text: string,
  from: string,
  fromScript = (script: string) => `"${script}" in package.json`,
  anyProgram = false,
): Promise<FoundCommand> {
  const trail = newTrail(project, fromScript, anyProgram);
  const found = await follow({ text, from }, trail, 0);
  return inDirectoryOfFiles(project, finish(found, trail));
}

/** Follows a script of package.json: see `followCommand`. */
export async function followScript(project: Project, name: string): Promise<FoundCommand> {
  const trail = newTrail(project, (script) => `"${script}" in package.json`);
  const found = await runScript(name, { text: `npm run ${name}`, from: 'Sluice' }, trail, 0);
  return inDirectoryOfFiles(project, finish(found, trail));
}

function finish(found: Found, { project, fromScript, scripts, keep, steps, ...trail }: Trail): FoundCommand {
  return { ...found, ...trail, ...divideSteps(steps), keep: [...keep] };
}

async function follow(source: CommandSource, trail: Trail, depth: number): Promise<Found> {
  if (depth > maxDepth) throw unsupportedStart(source, `it leads through more than ${maxDepth} commands`);
  const line = parseCommandLine(source.text, trail.project.cache.lines);
  if (line.fault !== null) throw unsupportedStart(source, line.fault);
  const { before: steps, last } = withoutChores(line);
  for (const command of steps) await takeStep(command, source, trail);
  const inShell = (reason: string): Found => ({
    ...source,
    target: { kind: 'shell', reason },
    nodeArgs: [],
    args: [],
    shell: last.text,
  });
  if (last.needsShell !== null) {
    noteDevelopment(last.words, source, trail);
    // A pattern most often names files to watch, which do not matter.
    const isSeenThrough = isWatcher(last.words) && pattern.test(last.needsShell);
    if (!isSeenThrough) return inShell(last.needsShell);
  }
  const before = {
    ...trail,
    env: { ...trail.env },
    defaults: { ...trail.defaults },
    notices: [...trail.notices],
  };
  for (const [name, value] of last.assignments) trail.env[name] = value;
  try {
    const found = await run(last.words, source, trail, { depth, shell: last.text });
    const { target, nodeArgs, args } = found;
    const left = 'name' in target ? [target.name, ...nodeArgs, ...args] : [];
    if (last.needsShell !== null && left.some((word) => /[*?[]/.test(`${word}`)))
      throw new NeedsShell(last.needsShell);
    return found;
  } catch (error) {
    if (!(error instanceof NeedsShell)) throw error;
    // The shell runs the whole command, so what Sluice has seen through does not count.
    const { development, isWatched } = trail;
    Object.assign(trail, before, { development, isWatched });
    return inShell(error.message);
  }
}

/** Returns a line without commands that only tend the processes of PM2, such as `pm2 delete all` before, and `pm2 logs` after a start. */
function withoutChores(line: CommandLine): Pick<CommandLine, 'before' | 'last'> {
  const commands = commandsOf(line);
  const others = commands.filter(({ text }) => !isPm2Chore(text));
  const last = others.pop();
  return last === undefined || others.length + 1 === commands.length ? line : { before: others, last };
}

/** Limits of one level, and the command of the level for a shell. */
interface Level {
  depth: number;
  shell: string;
}

/** Follows words to a target. */
async function run(words: Word[], source: CommandSource, trail: Trail, level: Level): Promise<Found> {
  const [first, ...rest] = words;
  if (first === undefined) throw unsupportedStart(source, 'it names no program');
  if (typeof first !== 'string') throw new NeedsShell('a variable names the program');
  const name = programName(first);
  const { shell } = level;
  const node = name === 'node' || name === 'nodejs';
  if (node || Object.hasOwn(runtimes, name)) {
    if (name === 'tsx' && rest[0] === 'watch')
      return await run([first, ...rest.slice(1)], source, watching(trail, source), level);
    const parsed = node
      ? await parseNode(rest, source, trail)
      : await parseRuntime(name, rest, source, trail);
    if ('script' in parsed)
      return await runScript(parsed.script, source, trail, level.depth + 1, parsed.args);
    return { ...source, ...targetOf(parsed), shell };
  }
  const wrapper = Object.hasOwn(seenThrough, name) ? seenThrough[name] : undefined;
  if (wrapper !== undefined) return await runBehind(await wrapper(rest, trail, source), source, trail, level);
  rejectOthers(name, source, trail);
  noteDevelopment(words, source, trail);
  const reason =
    startsOthers[name] ?? (systemPrograms.has(name) ? `${name} is not a Node.js program` : undefined);
  if (reason !== undefined && Object.hasOwn(startsOthers, name)) trail.keep.add(name);
  if (reason !== undefined) throw new NeedsShell(reason);
  const kind = name.includes('/') || /\.[cm]?[jt]s$/.test(name) ? 'executable' : 'bin';
  if (kind === 'bin') trail.keep.add(name);
  return { ...source, target: { kind, name }, nodeArgs: [], args: rest, shell };
}

/** Notes that a command is for development, also if only a shell can run it. */
function noteDevelopment(words: Word[], { text }: CommandSource, trail: Trail): void {
  const [name, ...rest] = withoutPrefixes(words);
  const watches = isWatcher(words);
  if (!watches && !isIn(developmentCommands, `${name}`, rest)) return;
  trail.development = text;
  trail.isWatched &&= watches;
}

function isWatcher(words: Word[]): boolean {
  const [name, command] = withoutPrefixes(words);
  return watchers.has(`${name}`) || (name === 'tsx' && command === 'watch');
}

function withoutPrefixes(words: Word[]): Word[] {
  const [program, ...rest] = words.slice(words.findIndex((word) => !isPrefix(word)));
  return typeof program === 'string' ? [programName(program), ...rest] : [];
}

/** Reasons for a shell that are patterns of file names. */
const pattern = /^it contains "[*?[]"$/;

/** Returns true for a word before the program of a command. */
function isPrefix(word: Word): boolean {
  return (
    typeof word === 'string' && (word === 'npx' || Object.hasOwn(wrappers, word) || /^\w+=|^-/.test(word))
  );
}

function watching(trail: Trail, { text }: CommandSource): Trail {
  trail.development = text;
  return trail;
}

function targetOf({ nodeArgs, file, args }: NodeCommand): Pick<Found, 'target' | 'nodeArgs' | 'args'> {
  return { target: { kind: 'file', name: file }, nodeArgs, args };
}

/** @throws NoNodeProgram for a program that is certainly not Node.js; NeedsShell if any program may run */
function rejectOthers(
  name: string,
  source: CommandSource,
  { project: { manifest }, anyProgram }: Trail,
): void {
  const base = name.replace(/^\.\//, '');
  const language = [name, base].find((known) => Object.hasOwn(otherLanguages, known));
  if (language === undefined) return;
  if (anyProgram) throw new NeedsShell(`${base} runs ${otherLanguages[language]}`);
  const script = servingScript(manifest);
  const start = script === undefined ? 'node server.js' : `npm run ${script}`;
  const { code, message, hint } = unsupportedStart(
    source,
    `${base} runs ${otherLanguages[language]}, and Sluice runs servers on Node.js`,
    `If the app has such a server, name it in sluice.json, as in ${JSON.stringify({ start })}.`,
  );
  throw new NoNodeProgram(code, message, { hint });
}

/** Error for a command that runs something other than Node.js, such as a desktop app. */
export class NoNodeProgram extends AppError {}

async function runBehind(behind: Behind, source: CommandSource, trail: Trail, level: Level): Promise<Found> {
  const depth = level.depth + 1;
  if (depth > maxDepth) throw unsupportedStart(source, `it leads through more than ${maxDepth} commands`);
  if ('words' in behind) return await run(behind.words, source, trail, { ...level, depth });
  if ('script' in behind) return await runScript(behind.script, source, trail, depth, behind.args);
  const { text, from = source.from, args = [] } = behind;
  return await follow({ text: withWords(text, args), from }, trail, depth);
}

/** Follows a script of package.json, as `npm run` does, with its `pre` script. */
async function runScript(
  name: string,
  source: CommandSource,
  trail: Trail,
  depth: number,
  args: Word[] = [],
): Promise<Found> {
  const found = await manifestFor(trail.project, trail.directory);
  const text = found?.manifest.scripts[name];
  if (found === undefined || text === undefined) {
    // npm starts this file if there is no script.
    if (name === 'start')
      return await follow({ text: withWords('node server.js', args), from: source.from }, trail, depth);
    throw unsupportedStart(
      source,
      `package.json has no script "${name}"`,
      scriptsHint(found?.manifest.scripts),
    );
  }
  const id = join(found.directory, name);
  if (trail.scripts.includes(id)) throw unsupportedStart(source, `the script "${name}" runs itself`);
  trail.scripts.push(id);
  trail.directory = found.directory;
  const { scripts } = found.manifest;
  const [pre, post] = [`pre${name}`, `post${name}`];
  if (scripts[pre] !== undefined) {
    // It runs in a shell of its own.
    const { directory, env, defaults } = trail;
    Object.assign(trail, { env: { ...env }, defaults: { ...defaults } });
    const from = sourceIn(trail, pre, found.directory);
    const line = parseCommandLine(scripts[pre], trail.project.cache.lines);
    if (line.fault === null) {
      for (const command of commandsOf(line)) await takeStep(command, { text: scripts[pre], from }, trail);
    }
    Object.assign(trail, { directory, env, defaults });
  }
  if (scripts[post] !== undefined) {
    addNotice(trail, {
      code: 'start_hook_ignored',
      message: `Sluice does not run "${post}" in package.json: npm would run it when the app has ended`,
      hint: 'Set the hook "postSwitch" in sluice.json for work that follows the switch.',
    });
  }
  const from = sourceIn(trail, name, found.directory);
  return await follow({ text: withWords(text, args), from }, trail, depth);
}

/** Returns the name of a script in a directory of the release, for messages. */
function sourceIn({ fromScript }: Trail, script: string, directory: string): string {
  return fromScript(script).replace('package.json', join(directory, 'package.json'));
}

function scriptsHint(scripts: Record<string, string> = {}): string {
  const names = Object.keys(scripts);
  return names.length === 0
    ? 'Add the script to package.json, or name a file in sluice.json, as in {"start": "node server.js"}.'
    : `Scripts of package.json: ${names.join(', ')}. Name one in sluice.json, as in {"start": "npm run ${names[0]}"}.`;
}
