import { join, normalize, relative } from 'node:path';
import { expandWord, type Word } from '../../releases/words.ts';
import { managers } from './managers.ts';
import { monorepoTools } from './monorepo-tools.ts';
import { type NodeCommand, parseNode, parseRuntime, runtimes } from './node-arguments.ts';
import { NeedsShell } from './options.ts';
import { processManagers } from './process-managers.ts';
import {
  builders,
  developmentCommands,
  isIn,
  otherLanguages,
  startsOthers,
  systemPrograms,
} from './programs.ts';
import { manifestFor, type Project, readEnvFile } from './project.ts';
import { servingScript } from './serving-script.ts';
import { type CommandLine, parseCommandLine, type SimpleCommand } from './shell.ts';
import {
  addNotice,
  type CommandSource,
  changeDirectory,
  newTrail,
  type Trail,
  unsupportedStart,
} from './trail.ts';
import { assign, type Behind, type Wrapper, wrappers } from './wrappers.ts';

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
    Omit<Trail, 'project' | 'fromScript' | 'scripts' | 'keep'> {
  target: Target;
  nodeArgs: Word[];
  args: Word[];
  keep: string[];
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
};

/**
 * Follows a command to the file that it runs: through scripts of package.json, and through programs such as `cross-env`. Reads
 * files, but does not look for the target.
 * @param from source of the command, for messages
 * @param fromScript returns the name of a script, for messages
 * @throws AppError `unsupported_start`
 */
export async function followCommand(
  project: Project,
  text: string,
  from: string,
  fromScript = (script: string) => `"${script}" in package.json`,
): Promise<FoundCommand> {
  const trail = newTrail(project, fromScript);
  const found = await follow({ text, from }, trail, 0);
  return finish(found, trail);
}

/** Follows a script of package.json: see `followCommand`. */
export async function followScript(project: Project, name: string): Promise<FoundCommand> {
  const trail = newTrail(project, (script) => `"${script}" in package.json`);
  return finish(await runScript(name, { text: `npm run ${name}`, from: 'Sluice' }, trail, 0), trail);
}

function finish(found: Found, { project, fromScript, scripts, keep, ...trail }: Trail): FoundCommand {
  return { ...found, ...trail, keep: [...keep] };
}

async function follow(source: CommandSource, trail: Trail, depth: number): Promise<Found> {
  if (depth > maxDepth) throw unsupportedStart(source, `it leads through more than ${maxDepth} commands`);
  const line = parseCommandLine(source.text);
  if (line.fault !== null) throw unsupportedStart(source, line.fault);
  for (const command of line.before) await runBefore(command, source, trail);
  const { last } = line;
  const inShell = (reason: string): Found => ({
    ...source,
    target: { kind: 'shell', reason },
    nodeArgs: [],
    args: [],
    shell: last.text,
  });
  if (last.needsShell !== null) return inShell(last.needsShell);
  const before = {
    ...trail,
    env: { ...trail.env },
    defaults: { ...trail.defaults },
    notices: [...trail.notices],
  };
  for (const [name, value] of last.assignments) trail.env[name] = value;
  try {
    return await run(last.words, source, trail, { depth, shell: last.text });
  } catch (error) {
    if (!(error instanceof NeedsShell)) throw error;
    // The shell runs the whole command, so what Sluice has seen through does not count.
    const { development, isWatched } = trail;
    Object.assign(trail, before, { development, isWatched });
    return inShell(error.message);
  }
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
  rejectOthers(name, source, trail.project);
  if (isIn(developmentCommands, name, rest)) {
    trail.development = source.text;
    trail.isWatched = false;
  }
  const reason =
    startsOthers[name] ?? (systemPrograms.has(name) ? `${name} is not a Node.js program` : undefined);
  if (reason !== undefined && Object.hasOwn(startsOthers, name)) trail.keep.add(name);
  if (reason !== undefined) throw new NeedsShell(reason);
  const kind = name.includes('/') || /\.[cm]?[jt]s$/.test(name) ? 'executable' : 'bin';
  if (kind === 'bin') trail.keep.add(name);
  return { ...source, target: { kind, name }, nodeArgs: [], args: rest, shell };
}

function watching(trail: Trail, { text }: CommandSource): Trail {
  trail.development = text;
  return trail;
}

function targetOf({ nodeArgs, file, args }: NodeCommand): Pick<Found, 'target' | 'nodeArgs' | 'args'> {
  return { target: { kind: 'file', name: file }, nodeArgs, args };
}

/** Returns the name of a program without the directories in which it usually is. */
function programName(word: string): string {
  return word.replace(/^(?:(?:\.\/)?node_modules\/\.bin\/|\/usr(?:\/local)?\/bin\/|\/bin\/)/, '');
}

/** @throws AppError `unsupported_start` for a program that is certainly not Node.js */
function rejectOthers(name: string, source: CommandSource, { manifest }: Project): void {
  const base = name.replace(/^\.\//, '');
  const language = [name, base].find((known) => Object.hasOwn(otherLanguages, known));
  if (language === undefined) return;
  const script = servingScript(manifest);
  const start = script === undefined ? 'node server.js' : `npm run ${script}`;
  throw unsupportedStart(
    source,
    `${base} runs ${otherLanguages[language]}, and Sluice runs servers on Node.js`,
    `If the app has such a server, name it in sluice.json, as in ${JSON.stringify({ start })}.`,
  );
}

async function runBehind(behind: Behind, source: CommandSource, trail: Trail, level: Level): Promise<Found> {
  const depth = level.depth + 1;
  if (depth > maxDepth) throw unsupportedStart(source, `it leads through more than ${maxDepth} commands`);
  if ('words' in behind) return await run(behind.words, source, trail, { ...level, depth });
  if ('script' in behind) return await runScript(behind.script, source, trail, depth, behind.args);
  const { text, from = source.from, args = [] } = behind;
  return withArguments(await follow({ text, from }, trail, depth), args);
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
    if (name === 'start') return await follow({ text: 'node server.js', from: source.from }, trail, depth);
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
    const from = sourceIn(trail, pre, found.directory);
    const line = parseCommandLine(scripts[pre]);
    if (line.fault === null) {
      for (const command of commandsOf(line)) await runBefore(command, { text: scripts[pre], from }, trail);
    }
  }
  if (scripts[post] !== undefined) {
    addNotice(trail, {
      code: 'start_hook_ignored',
      message: `Sluice does not run "${post}" in package.json: npm would run it when the app has ended`,
      hint: 'Set the hook "postSwitch" in sluice.json for work that follows the switch.',
    });
  }
  return withArguments(
    await follow({ text, from: sourceIn(trail, name, found.directory) }, trail, depth),
    args,
  );
}

/** Returns the name of a script in a directory of the release, for messages. */
function sourceIn({ fromScript }: Trail, script: string, directory: string): string {
  return fromScript(script).replace('package.json', join(directory, 'package.json'));
}

function commandsOf({ before, last }: CommandLine): CommandLine['before'] {
  return [...before, { ...last, mayFail: false }];
}

function scriptsHint(scripts: Record<string, string> = {}): string {
  const names = Object.keys(scripts);
  return names.length === 0
    ? 'Add the script to package.json, or name a file in sluice.json, as in {"start": "node server.js"}.'
    : `Scripts of package.json: ${names.join(', ')}. Name one in sluice.json, as in {"start": "npm run ${names[0]}"}.`;
}

function withArguments(found: Found, args: Word[]): Found {
  if (args.length === 0) return found;
  const shell = [found.shell, ...args.map(quoteWord)].join(' ');
  return { ...found, args: [...found.args, ...args], shell };
}

/** Returns a word as a shell reads it. */
function quoteWord(word: Word): string {
  if (typeof word === 'string') return quote(word);
  return `"${word.map((part) => (typeof part === 'string' ? part.replaceAll(/["\\$`]/g, '\\$&') : `\${${part.variable}:-${part.default ?? ''}}`)).join('')}"`;
}

function quote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** Commands that change the shell, or that change nothing that matters to the app. */
const quiet = new Set(['set', 'true', ':', 'echo', 'clear', 'cls', 'printf', 'umask', 'ulimit']);

/** Commands of package managers that install the dependencies. */
const installs =
  /^(?:npm (?:ci|i|install)|pnpm (?:i|install)|yarn(?: install)?|bun (?:i|install))(?: -\S+)*$/;

/** Handles a command that precedes the start: it runs once, in the build or before the workers start. */
async function runBefore(
  command: CommandLine['before'][number],
  source: CommandSource,
  trail: Trail,
): Promise<void> {
  const { words, assignments, text, mayFail } = command;
  for (const [name, value] of assignments) if (words.length === 0) trail.env[name] = value;
  const [program, ...rest] = words;
  if (command.needsShell === null) {
    if (program === undefined) return;
    if (program === 'cd' && typeof rest[0] === 'string') return changeDirectory(trail, rest[0], source);
    if (program === 'export' || program === 'set' || program === 'SET') {
      for (const word of rest) assign(trail, word);
      return;
    }
    if ((program === '.' || program === 'source') && typeof rest[0] === 'string') {
      const file = normalize(join(trail.directory, rest[0]));
      Object.assign(trail.env, (await readEnvFile(trail.project, file)) ?? {});
      delete trail.env['PORT'];
      return;
    }
    if (typeof program === 'string' && quiet.has(program)) return;
  }
  // Commands of a deploy run in the directory of the app.
  const directory = relative(trail.project.settings.directory || '.', trail.directory);
  const place = directory === '' ? '' : `cd ${quote(directory)} && `;
  const run = `${place}${mayFail ? `{ ${text}; } || true` : text}`;
  const doneBy = doneByBuild(command, trail);
  if (doneBy !== null) {
    addNotice(trail, {
      code: 'start_step_skipped',
      message: `Sluice does not run \`${text}\` of ${source.from} again, because ${doneBy}`,
      hint: 'Remove the command from the start command.',
    });
  } else if (isBuilder(command, trail)) trail.builds.push(run);
  else {
    if (typeof program === 'string') keepPrograms(program, rest, trail);
    trail.before.push(run);
  }
}

/** Returns a clause if the install or the build has done the work of a command. */
function doneByBuild({ text }: SimpleCommand, { project, directory }: Trail): string | null {
  if (directory !== project.app) return null;
  if (installs.test(text)) return 'it installs the dependencies';
  const { buildScript, manifest } = project;
  if (buildScript === undefined) return null;
  const isBuild = scriptOf(text) === buildScript || manifest?.scripts[buildScript] === text;
  return isBuild ? `the build runs "${buildScript}" in package.json` : null;
}

/** Returns the script that a command such as `npm run x` names. */
function scriptOf(text: string): string | undefined {
  return /^(?:npm run(?:-script)?|npm(?= test$)|pnpm(?: run)?|yarn(?: run)?|bun run) ([\w:.-]+)$/.exec(
    text,
  )?.[1];
}

function isBuilder({ words, text, needsShell }: SimpleCommand, { project }: Trail): boolean {
  const script = scriptOf(text);
  const command = script === undefined ? undefined : project.manifest?.scripts[script];
  if (command !== undefined)
    return /^(?:build|compile|bundle|transpile|lint|test)\b/.test(script ?? '') || buildsOnly(command);
  const [program, ...rest] = words[0] === 'npx' ? words.slice(1) : words;
  return needsShell === null && typeof program === 'string' && isIn(builders, programName(program), rest);
}

/** Returns true if a script of package.json has only programs that build. */
function buildsOnly(text: string): boolean {
  const line = parseCommandLine(text);
  return commandsOf(line).every(({ words: [program, ...rest], needsShell }) => {
    return needsShell === null && typeof program === 'string' && isIn(builders, programName(program), rest);
  });
}

/** Keeps the program of a command that runs in the finished release. */
function keepPrograms(program: string, rest: Word[], { keep }: Trail): void {
  const name = ['npx', 'pnpm', 'yarn', 'bunx'].includes(program) ? rest.find(isName) : program;
  if (typeof name !== 'string' || Object.hasOwn(seenThrough, name) || name.startsWith('node')) return;
  if (!name.includes('/')) keep.add(programName(name));
}

function isName(word: Word): boolean {
  return typeof word === 'string' && !word.startsWith('-') && word !== 'exec' && word !== 'run';
}

/** Returns a word for a message, with variables as written. */
export function wordText(word: Word): string {
  return expandWord(word, {});
}
