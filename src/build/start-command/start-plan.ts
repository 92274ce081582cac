import { dirname, join } from 'node:path';
import type { OriginalSettings, StartFacts } from '../../config/app-directory.ts';
import type { AppSettings } from '../../config/app-settings.ts';
import { isWorkspace } from '../../config/workspaces.ts';
import type { ExecCommand, Notice } from '../../protocol/runner.ts';
import type { BackgroundPlan, ProgramPlan, RunPlan } from '../../releases/release.ts';
import { exists } from '../../system/fs/exists.ts';
import { describeSite, placeStaticSite } from '../static-site/place.ts';
import { type BackgroundDecision, decideBackground } from './background.ts';
import type { FoundCommand } from './follow.ts';
import { frameworkOf, hasWhatItNeeds } from './frameworks.ts';
import { nothingToRun } from './nothing-to-run.ts';
import { type Candidate, findCandidates, plainSite } from './order.ts';
import { checkTarget, firstFile, firstLineOptions, resolveFile, resolveTarget } from './program.ts';
import { compilers } from './programs.ts';
import { noFacts, type Project, readProject, relativeTo, staysInside } from './project.ts';
import { parseCommandLine, startsNothing } from './shell.ts';
import { runsOnlyProcesses, withoutWorkers } from './without-workers.ts';

/** Start of an app as far as its files show it before the install and the build. */
export interface StartDecision {
  /** the first whose file exists after the build starts the app; empty if only the build can show a start */
  candidates: Candidate[];
  /** false for an app that runs only background processes, without a port; it has no candidates */
  hasWorkers: boolean;
  facts: StartFacts;
  background: BackgroundDecision[];
  /** commands of the start that belong to the build */
  builds: string[];
  /** names of packages and programs that the start needs, also if they are dev dependencies */
  keep: string[];
  notices: Notice[];
}

/** Start of an app. */
export interface StartPlan extends Pick<RunPlan, 'before' | 'exec' | 'static' | keyof ProgramPlan> {
  /** for the log, with the rule that found the start and its reason */
  description: string;
  notices: Notice[];
}

/**
 * Decides how an app starts, before its install and build. Rejects whatever is certain to fail.
 * @throws AppError `nothing_to_run`, `unsupported_start`, `invalid_settings`
 */
export async function decideStart(
  directory: string,
  settings: AppSettings,
  { origins = {}, ...given }: Partial<Pick<OriginalSettings, 'origins' | keyof StartFacts>> = {},
): Promise<StartDecision> {
  const facts = { ...noFacts, ...given };
  const read = await readProject(directory, settings, false);
  const project = { ...read, facts, mayBuild: read.mayBuild || facts.buildsPackages === true };
  const found = runsOnlyProcesses(project) ? [] : await findCandidates(project);
  const isOpen = found.length === 0 && settings.workers !== 0 && (await mayWriteStart(project));
  const beside = await decideBackground(project, origins, found[0]);
  const all = () => decideBackground(project, origins, undefined);
  const none = isOpen
    ? undefined
    : await withoutWorkers(project, { candidates: found, beside, all, origins });
  const candidates = none === undefined ? found : [];
  const { background, notices } = none ?? beside;
  const [first] = candidates;
  if (first === undefined && none === undefined && !isOpen) throw await nothingFound(project, candidates);
  if (first?.command) await checkTarget(project, first.command);
  if (first?.site && !project.mayBuild) await placeStaticSite(join(directory, first.directory), first.site);
  const ofBackground = background.map(({ command }) => command);
  const commands = [...(first?.command ? [first.command] : []), ...ofBackground];
  // The build decides which candidate starts the app.
  const possible = [...candidates.flatMap(({ command }) => command ?? []), ...ofBackground];
  return {
    candidates,
    hasWorkers: none === undefined,
    facts,
    background,
    builds: [...new Set(commands.flatMap(({ builds }) => builds))],
    keep: [...new Set(possible.flatMap(({ keep }) => keep))],
    notices: different([
      ...(first === undefined ? [] : noticesOf(first)),
      ...background.flatMap(({ command }) => command.notices),
      ...notices,
    ]),
  };
}

function different(notices: Notice[]): Notice[] {
  return [...new Map(notices.map((notice) => [notice.message, notice])).values()];
}

/**
 * Returns the files that the starts of an app name, relative to the release: as Node.js finds them, if they exist. The build may
 * have to write the others.
 */
export async function startFiles(
  root: string,
  starts: { command: FoundCommand | null; files?: string[] }[],
): Promise<string[]> {
  const named = starts.flatMap(({ command, files = [] }) => [...fileOf(command), ...files]);
  const inside = named.filter((path) => !path.includes('*') && staysInside(path));
  return Promise.all(inside.map(async (path) => (await resolveFile(root, path)) ?? path));
}

/** Returns the directory of the file that starts an app, relative to the release, as far as it is known; '' for the release itself. */
export function startDirectory(
  { candidates, hasWorkers, background }: StartDecision,
  settings: AppSettings,
): string {
  const [first] = hasWorkers
    ? candidates
    : background.map(({ command }) => ({ command, files: [], directory: command.directory }));
  if (first === undefined) return settings.directory ?? '';
  const { command, files, directory } = first;
  const [file] = [...fileOf(command), ...files];
  const path = file === undefined || file.includes('*') ? directory : dirname(file);
  return relativeTo(path.split('/node_modules', 1)[0]?.replace(/^node_modules(?:\/.*)?$/, '.') ?? '.');
}

/** Describes what is known of a start before the build, for people: `starts with dist/server.js ("start" in package.json)`. */
export async function describeDecision(directory: string, decision: StartDecision): Promise<string> {
  if (!decision.hasWorkers) return describeProcesses(decision);
  const [first] = decision.candidates;
  if (first === undefined) return 'starts with a file that the build writes';
  const { rule, command, directory: at, files, site } = first;
  if (site !== undefined) {
    const [output = '.'] = site.directories;
    return describeSite(site, { directory: output, fallback: site.spa ? '' : null, base: '/' });
  }
  if (command === null) return `starts with ${files[0]} (${rule})`;
  const { target, shell } = command;
  if (target.kind === 'shell') return `starts \`${shell}\` in exec mode (${rule}; ${target.reason})`;
  const path = join(at, target.name);
  const program = target.kind === 'bin' ? target.name : ((await resolveFile(directory, path)) ?? path);
  return `starts with ${program} (${rule})`;
}

function describeProcesses({ background }: StartDecision): string {
  return `runs without a port: ${background.map(({ name }) => name).join(', ')}`;
}

/** Returns why the build still decides how the app starts, as a sentence; undefined if nothing but an error can change the start. */
export async function openStart(
  directory: string,
  { candidates, hasWorkers }: StartDecision,
): Promise<string | undefined> {
  if (!hasWorkers) return undefined;
  const [first] = candidates;
  if (first === undefined) return 'The build decides which file starts the app.';
  const { command, site } = first;
  if (site !== undefined) return 'The build decides which directory has the site.';
  if (command?.target.kind === 'shell') return undefined;
  if (command?.target.kind === 'bin')
    return `The install decides which file is the program ${command.target.name}.`;
  const named = candidates.flatMap(({ command: each, files }) => [...fileOf(each), ...files]);
  const [file = ''] = named;
  const isThere = (await resolveFile(directory, file)) !== undefined;
  if (isThere && command?.target.kind !== 'executable') return undefined;
  if (command !== null) return `The build must write ${file}.`;
  return `The build decides which file starts the app: the first that exists of ${named.join(', ')}, or else an index.html.`;
}

/** Returns the file that a command starts, relative to the release; none for a program of a package or a shell. */
function fileOf(command: FoundCommand | null): string[] {
  if (command?.target.kind !== 'file' && command?.target.kind !== 'executable') return [];
  return [join(command.directory, command.target.name)];
}

/** Returns the notices of a candidate that is to start the app. */
function noticesOf({ command, notices }: Candidate): Notice[] {
  if (command === null) return notices;
  const { target, shell, from } = command;
  const inShell =
    target.kind === 'shell' ? [execNotice({ command: shell, reason: target.reason }, from)] : [];
  return [...notices, ...portNotices(command), ...inShell];
}

function execNotice({ command, reason }: ExecCommand, from: string): Notice {
  return {
    code: 'exec_mode',
    message: `Sluice starts \`${command}\` of ${from} in exec mode: ${reason}`,
    hint: 'To start the app without a shell, name the file that serves requests in sluice.json, as in {"start": "node server.js"}.',
  };
}

/** Returns true if the build may write a file that starts the app, or a site, although nothing names the file. */
async function mayWriteStart({ root, app, manifest, mayBuild, buildScript }: Project): Promise<boolean> {
  if (!mayBuild || buildScript === undefined) return false;
  const framework = frameworkOf(manifest);
  if (framework !== undefined && !hasWhatItNeeds(framework, manifest)) return false;
  if (await isWorkspace(join(root, app))) return false;
  const { before, last } = parseCommandLine(manifest?.scripts[buildScript] ?? '');
  const onlyCompiles = [...before, last].every(({ words: [program], needsShell }) => {
    return needsShell === null && typeof program === 'string' && compilers.has(program);
  });
  return !onlyCompiles;
}

/**
 * Completes a decision when the app is installed and built.
 * @throws AppError `nothing_to_run`, `unsupported_start`, `invalid_settings`
 */
export async function completeStart(
  directory: string,
  settings: AppSettings,
  decision: StartDecision,
): Promise<StartPlan> {
  const { candidates, facts, hasWorkers } = decision;
  const ofBackground = decision.background.flatMap(({ command }) => command.before);
  if (!hasWorkers) {
    const start = { ...nothing, ...(ofBackground.length > 0 && { before: ofBackground }) };
    return { ...start, description: describeProcesses(decision), notices: [] };
  }
  const project = { ...(await readProject(directory, settings, true)), facts };
  const found = candidates.length > 0 ? candidates : await findCandidates(project);
  for (const candidate of [...found, ...(await plainSite(project))]) {
    const plan = await planOf(project, candidate);
    if (plan === undefined) continue;
    const before = [...(candidate.command?.before ?? []), ...ofBackground];
    // The decision has the notices of its first candidate.
    const notices = candidate === candidates[0] ? [] : noticesOf(candidate);
    const isNews = candidate.command?.target.kind !== 'shell';
    if (plan.exec && isNews) notices.push(execNotice(plan.exec, candidate.command?.from ?? ''));
    const { PORT: _, ...env } = plan.env;
    return { ...plan, env, ...(before.length > 0 && { before }), notices };
  }
  throw await nothingFound(project, candidates);
}

async function nothingFound(project: Project, candidates: Candidate[]) {
  const tried = candidates.map(({ rule, files }) => `${files[0]} (${rule})`);
  const { manifest } = project;
  const script = manifest?.scripts['start'];
  const { main } = manifest ?? {};
  if (
    candidates.length === 0 &&
    main !== undefined &&
    staysInside(main) &&
    (await resolveFile(project.root, join(project.app, main))) === undefined
  ) {
    tried.push(`${main} ("main" in package.json)`);
  }
  return await nothingToRun(project, tried, script === undefined || startsNothing(script) ? null : script);
}

/** Start that runs no program. */
const nothing = { script: '', args: [], nodeArgs: [], env: {} };

/** Returns the start of a candidate; undefined if none of its files exists. */
async function planOf(
  project: Project,
  { rule, command, files, site, directory: at }: Candidate,
): Promise<Omit<StartPlan, 'notices' | 'before'> | undefined> {
  if (site !== undefined) {
    const tree = join(project.root, at);
    const placed = await placeStaticSite(tree, site).catch(async (error: unknown) => {
      if (site.server === undefined || !(await exists(join(tree, site.server.file)))) throw error;
    });
    if (placed === undefined) return undefined;
    const plan = { ...placed, directory: join(at, placed.directory) };
    return { ...nothing, static: plan, description: describeSite(site, plan) };
  }
  if (command !== null) {
    const resolved = await resolveTarget(project, command);
    if ('script' in resolved) {
      return {
        ...programPlan(command, resolved.script, resolved.nodeArgs),
        description: `starts with ${resolved.script} (${rule})`,
      };
    }
    const { exec } = resolved;
    const description = `starts \`${exec.command}\` in exec mode (${rule}; ${exec.reason})`;
    return { ...programPlan(command, ''), args: [], nodeArgs: [], exec, description };
  }
  const script = await firstFile(project.root, files);
  const directory = at === '.' ? {} : { directory: at };
  if (script === undefined) return undefined;
  const nodeArgs = await firstLineOptions(project, script);
  return { ...nothing, script, nodeArgs, ...directory, description: `starts with ${script} (${rule})` };
}

function programPlan(
  { args, nodeArgs, env, defaults, secrets, directory }: FoundCommand,
  script: string,
  ofScript: string[] = [],
): ProgramPlan {
  return {
    ...{ script, args, nodeArgs: [...ofScript, ...nodeArgs], env },
    ...(Object.keys(defaults).length > 0 && { defaults }),
    ...(secrets.length > 0 && { secrets }),
    ...(directory !== '.' && { directory }),
  };
}

function portNotices({ env: { PORT: port }, from }: FoundCommand): Notice[] {
  if (typeof port !== 'string') return [];
  return [
    {
      code: 'start_port_ignored',
      message: `Sluice ignores PORT=${port} of ${from}, because Sluice assigns the port`,
      hint: 'Remove PORT from the command.',
    },
  ];
}

/**
 * Completes the background processes of a decision when the app is installed and built.
 * @throws AppError `nothing_to_run`, `unsupported_start`, `invalid_settings`
 */
export async function completeBackground(
  directory: string,
  settings: AppSettings,
  { background }: StartDecision,
): Promise<BackgroundPlan[]> {
  const project = await readProject(directory, settings, true);
  const plans: BackgroundPlan[] = [];
  for (const { name, count, overlap, command } of background) {
    const resolved = await resolveTarget(project, command);
    const plan =
      'exec' in resolved
        ? { ...programPlan(command, ''), args: [], nodeArgs: [], exec: resolved.exec }
        : programPlan(command, resolved.script, resolved.nodeArgs);
    plans.push({ name, count, overlap, ...plan });
  }
  return plans;
}
