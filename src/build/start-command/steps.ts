import { join, normalize, relative } from 'node:path';
import type { Word } from '../../releases/words.ts';
import { sortWords } from './options.ts';
import { builders, isIn, programName } from './programs.ts';
import { manifestFor, type Project, readEnvFile, staysInside } from './project.ts';
import { quote } from './quote.ts';
import { type CommandLine, commandsOf, parseCommandLine, type SimpleCommand } from './shell.ts';
import { addNotice, type CommandSource, changeDirectory, setSecret, type Trail } from './trail.ts';
import { assign } from './wrappers.ts';

/**
 * What a command before the start does: it removes the output of an earlier build, repeats what the install or the build has
 * done, builds, or does anything else.
 */
export type Work = { kind: 'clean' | 'build' | 'other' } | { kind: 'done'; why: string };

/** Command that precedes the start. */
export interface Step {
  /** for a shell in the directory of the app */
  run: string;
  kind: Work['kind'];
}

/** Commands that change the shell, or that change nothing that matters to the app. */
const quiet = new Set(['set', 'true', ':', 'echo', 'clear', 'cls', 'printf', 'umask', 'ulimit']);

/** Handles a command that precedes the start: it changes the shell, or it is a step. */
export async function takeStep(
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
      const variables = (await readEnvFile(trail.project, file)) ?? {};
      for (const [name, value] of Object.entries(variables))
        if (name !== 'PORT') setSecret(trail, name, value);
      return;
    }
    if (typeof program === 'string' && quiet.has(program)) return;
  }
  // Commands of a deploy run in the directory of the app.
  const directory = relative(trail.project.settings.directory || '.', trail.directory);
  const place = directory === '' ? '' : `cd ${quote(directory)} && `;
  const run = `${place}${mayFail ? `{ ${text}; } || true` : text}`;
  const work = await workOf(command, trail.project, trail.directory, 0);
  if (work.kind === 'done') {
    addNotice(trail, {
      code: 'start_step_skipped',
      message: `Sluice does not run \`${text}\` of ${source.from} again, because ${work.why}`,
      hint: 'Remove the command from the start command.',
    });
  }
  trail.steps.push({ run, kind: work.kind });
}

/** Commands that change data of the app: they never belong to the build. */
const ofData =
  /\b(?:migrat\w*|seed\w*)\b|\b(?:db|schema|drizzle-kit)[: -]?(?:push|deploy|setup|create|sync)\b/;

/**
 * Divides the steps of a start: those of the build, with all that precede them, and those that run before the workers start. A
 * release is a new directory, so that a build finds no earlier output to remove.
 */
export function divideSteps(steps: Step[]): { builds: string[]; before: string[] } {
  const lastWork = steps.findLastIndex(({ kind }) => kind === 'build' || kind === 'done');
  const lastBuild = steps.findLastIndex(({ kind }) => kind === 'build');
  const [builds, before]: [string[], string[]] = [[], []];
  for (const [at, { kind, run }] of steps.entries()) {
    if (kind === 'done' || (kind === 'clean' && at < lastWork)) continue;
    const belongsToBuild = at <= lastBuild && (kind === 'build' || !ofData.test(run));
    (belongsToBuild ? builds : before).push(run);
  }
  return { builds, before };
}

/** Commands that remove files. */
const cleaners = /^(?:npx )?(?:rm|shx rm|rimraf|del|del-cli|lb-clean)\b[^|&;]*(?:\|\| true)?$/;

/** Commands that build the members of a workspace. */
const workspaceBuilds = /^(?:npx |yarn |pnpm (?:exec )?)?(?:turbo|lerna|nx) .*\bbuild\b/;

/** Names of scripts that build. */
const buildScripts = /^(?:build|compile|bundle|transpile|lint|test)\b/;

async function workOf(
  command: SimpleCommand,
  project: Project,
  directory: string,
  depth: number,
): Promise<Work> {
  const { text, words } = command;
  if (cleaners.test(text)) return { kind: 'clean' };
  const { buildScript, manifest, app } = project;
  const call = callOf(words);
  const at = normalize(join(directory, call?.place ?? '.'));
  const isApp = at === app && call?.isMember !== true;
  if (call !== undefined && isInstall(call)) {
    return isApp ? { kind: 'done', why: 'it installs the dependencies' } : { kind: 'build' };
  }
  const script = call && scriptOf(call);
  if (isApp && buildScript !== undefined) {
    const isBuild = manifest?.scripts[buildScript] === text;
    if (isBuild || (script === buildScript && !call?.hasArguments))
      return { kind: 'done', why: `the build runs "${buildScript}" in package.json` };
  }
  if (script !== undefined && call?.isMember) return { kind: buildScripts.test(script) ? 'build' : 'other' };
  const found = script !== undefined && staysInside(at) ? await manifestFor(project, at) : undefined;
  if (script !== undefined && found?.manifest.scripts[script] !== undefined) {
    if (buildScripts.test(script)) return { kind: 'build' };
    return await workOfScript(found.manifest.scripts[script], project, found.directory, depth + 1);
  }
  const [program, ...rest] = runners.has(`${words[0]}`) ? withoutRunner(words) : words;
  const builds = typeof program === 'string' && isIn(builders, programName(program), rest);
  return { kind: builds || workspaceBuilds.test(text) ? 'build' : 'other' };
}

/** Limit of scripts that run each other. */
const maxDepth = 16;

/** Returns what a script does: what all of its commands do. */
async function workOfScript(text: string, project: Project, directory: string, depth: number): Promise<Work> {
  const { works } = project.cache;
  const key = `${directory}\0${text}`;
  const known = works.get(key);
  if (known !== undefined || depth > maxDepth) return known ?? { kind: 'other' };
  // A script that runs itself finds this.
  works.set(key, { kind: 'other' });
  const all: Work[] = [];
  let at = directory;
  for (const command of commandsOf(parseCommandLine(text, project.cache.lines))) {
    const [program, target] = command.words;
    if (program === 'cd' && typeof target === 'string') at = normalize(join(at, target));
    else if (typeof program !== 'string' || !quiet.has(program))
      all.push(await workOf(command, project, at, depth));
  }
  const work = sumOf(all);
  works.set(key, work);
  return work;
}

function sumOf(works: Work[]): Work {
  if (works.length === 0 || works.some(({ kind }) => kind === 'other')) return { kind: 'other' };
  const find = (wanted: Work['kind']) => works.find(({ kind }) => kind === wanted);
  return find('build') ?? find('done') ?? { kind: 'clean' };
}

/** Call of a package manager. */
interface Call {
  manager: string;
  /** words without options */
  names: string[];
  /** directory that an option names */
  place: string;
  isMember: boolean;
  hasArguments: boolean;
}

/** Package managers, with their options whose value may be the next word. */
const callers: Record<string, string> = {
  npm: '--prefix -C -w --workspace --omit --include --loglevel --registry',
  pnpm: '-C --dir --filter -F',
  yarn: '--cwd',
  bun: '--cwd --filter -F',
};

function callOf([manager, ...rest]: Word[]): Call | undefined {
  if (typeof manager !== 'string' || !Object.hasOwn(callers, manager)) return undefined;
  if (rest.some((word) => typeof word !== 'string')) return undefined;
  const { values, names, rest: args } = sortWords(rest, callers[manager] ?? '');
  const isOfMember = names[0] === 'workspace';
  const members = values('-w', '--workspace', '--workspaces', '-ws', '--filter', '-F', '-r', '--recursive');
  return {
    manager,
    names: isOfMember ? names.slice(2) : names,
    place: join('.', ...values('--prefix', '-C', '--cwd', '--dir')),
    isMember: isOfMember || members.length > 0,
    hasArguments: args.length > 0,
  };
}

/** Returns true for a command that installs all dependencies. */
function isInstall({ manager, names: [command, ...others] }: Call): boolean {
  if (others.length > 0) return false;
  return command === undefined ? manager === 'yarn' : ['install', 'i', 'ci'].includes(command);
}

/** Returns the script that a call such as `npm run x` names. */
function scriptOf({ manager, names: [command, ...others] }: Call): string | undefined {
  const [script, ...more] = command === 'run' || command === 'run-script' ? others : [command, ...others];
  if (more.length > 0) return undefined;
  return script !== command || manager !== 'npm' || command === 'test' ? script : undefined;
}

/** Programs that run a program of a package. */
const runners = new Set(['npx', 'bunx', 'pnpx', 'pnpm', 'yarn']);

/** Returns the words from the program on. */
function withoutRunner([, ...words]: Word[]): Word[] {
  const at = words.findIndex(
    (word) => !['exec', 'run', '--'].includes(`${word}`) && !`${word}`.startsWith('-'),
  );
  return at === -1 ? [] : words.slice(at);
}
