import { basename, join, relative } from 'node:path';
import type { Origins } from '../../config/settings-layers.ts';
import { AppError } from '../../errors/app-error.ts';
import type { Notice } from '../../protocol/runner.ts';
import { shellWord } from '../../system/text/format.ts';
import { hasServerPackage } from '../static-site/find.ts';
import { type Background, isOwn } from './background.ts';
import { connectsByItself, serverPackages, serves } from './clients.ts';
import { blankComments } from './comments.ts';
import { followCommand } from './follow.ts';
import type { Candidate } from './order.ts';
import { checkTarget } from './program.ts';
import { type Project, procfileName } from './project.ts';
import { filesOf, importedSources } from './sources.ts';

/** Name of the background process that the start command of an app without workers becomes. */
export const mainProcess = 'main';

/** Start and background processes of an app, as decided so far. */
interface Beside {
  /** starts of the app; empty if nothing starts it */
  candidates: Candidate[];
  /** background processes, without those that the start of the app runs */
  beside: Background;
  /** returns all background processes */
  all(): Promise<Background>;
  origins: Origins;
}

/**
 * Decides whether an app runs without workers, and so without a port: with `workers: 0`, without a start command beside
 * `processes`, or if its start command is a bot or a consumer that does not listen.
 * @returns the background processes, of which the start command is one; undefined for an app with workers
 * @throws AppError `unsupported_start`, `nothing_to_run`, `invalid_settings`
 */
export async function withoutWorkers(project: Project, decided: Beside): Promise<Background | undefined> {
  const found = await decide(project, decided);
  const request = project.settings.cron.find(({ action }) => action.kind === 'request');
  if (found === undefined || request === undefined) return found;
  const message = `"cron" has the request ${request.name}, but the app has no workers that answer requests`;
  throw new AppError('invalid_settings', message, { hint: 'Set a "command" in place of "request".' });
}

/** Returns true if only `processes` run, whatever the start command is. */
export function runsOnlyProcesses({ settings: { workers, processes } }: Project): boolean {
  return workers === 0 && Object.keys(processes).length > 0;
}

async function decide(project: Project, decided: Beside): Promise<Background | undefined> {
  const { workers, start } = project.settings;
  const { candidates, beside, all, origins } = decided;
  const [first] = candidates;
  const withNotice = ({ background, notices }: Background, notice: Notice) => ({
    background,
    notices: [...notices, notice],
  });
  if (runsOnlyProcesses(project))
    return start === undefined ? beside : withNotice(beside, startNotRun(start));
  if (first === undefined) {
    const hasProcesses = beside.background.length > 0;
    return workers === 'auto' && hasProcesses ? withNotice(beside, nothingStarts) : undefined;
  }
  if (workers === 0) return mainOf(project, first);
  const isOfPm2 = runsOnceInPm2(project, origins);
  if (!(isOfPm2 || workers === 'auto') || !(await isClient(project, first))) return undefined;
  const names = Object.keys(project.settings.processes);
  if (names.length === 0) {
    const client = Object.keys(project.manifest?.dependencies ?? {}).find((name) =>
      connectsByItself.has(name),
    );
    return client === undefined && !isOfPm2
      ? undefined
      : withNotice(await mainOf(project, first), runsClient(first, client));
  }
  // A Procfile has no "web", and names the start of the app as another process.
  const isOfProcfile = names.every((name) => origins[`processes.${name}`] === procfileName);
  const complete = isOfProcfile ? await all() : beside;
  if (complete.background.length === beside.background.length) return undefined;
  return withNotice(complete, noWeb);
}

/** Returns true if a file of PM2 starts one process of the app, which need not answer requests. */
function runsOnceInPm2({ settings }: Project, { workers: origin }: Origins): boolean {
  const { start, workers, pm2Variables } = settings;
  return start === undefined && workers === 1 && pm2Variables && origin !== undefined && !isOwn(origin);
}

/** Returns the start of an app as its only background process. */
async function mainOf(project: Project, start: Candidate): Promise<Background> {
  const command = await commandOf(project, start);
  await checkTarget(project, command);
  return { background: [{ name: mainProcess, count: 1, overlap: false, command }], notices: [] };
}

/** Returns the command of a start. @throws AppError `unsupported_start` for a static site */
async function commandOf(project: Project, { command, files, directory, rule, site }: Candidate) {
  const [file = ''] = files;
  if (site !== undefined)
    throw new AppError('unsupported_start', '"workers" is 0, but a static site needs a worker', {
      hint: 'Remove "workers" from sluice.json, or name the program that runs without a port: {"workers": 0, "processes": {"main": "node bot.js"}}.',
    });
  return command ?? followCommand(project, `node ${shellWord(relative(directory, file))}`, rule);
}

/** Returns true if nothing that starts an app seems to listen, and neither its dependencies nor its settings name a server. */
async function isClient(project: Project, start: Candidate): Promise<boolean> {
  const { manifest, root } = project;
  const file = fileOf(start);
  if (file === undefined || namesPort(project, start) || /^(?:server|web|www|api)\b/.test(basename(file)))
    return false;
  const dependencies = Object.keys(manifest?.dependencies ?? {});
  if (hasServerPackage(manifest) || dependencies.some((name) => serverPackages.has(name))) return false;
  const texts = [...importedSources(root, [sourcesOf(file)])].map(({ text }) => blankComments(text));
  // Without a source, and if there may be more than the search has read, nothing is known.
  if (texts.length === 0 || texts.length >= mostSources) return false;
  return !texts.some((text) => serves.test(text));
}

/** Number of files of a search that may have left out others: see sources.ts. */
const mostSources = 40;

/** Returns the file that a start names, relative to the release; undefined if a shell or a package runs. */
function fileOf({ command, files: [file] }: Candidate): string | undefined {
  if (command === null) return file;
  const { target, directory } = command;
  return target.kind === 'file' ? join(directory, target.name) : undefined;
}

/** Returns true if the settings or the start say that the app answers requests. */
function namesPort({ settings }: Project, { command, site }: Candidate): boolean {
  const { port, cron, health } = settings;
  return (
    port !== undefined ||
    site !== undefined ||
    health.path !== '/' ||
    cron.some(({ action }) => action.kind === 'request') ||
    command?.from === '"web" in Procfile' ||
    (command?.development ?? null) !== null
  );
}

/** Returns the paths of a start file, and of its sources if the build writes the file. */
function sourcesOf(path: string): string[] {
  const output = /^(?:\.\/)?(?:dist|build|lib|out)\//;
  const sources = output.test(path) ? [path.replace(output, 'src/'), path.replace(output, '')] : [];
  return [path, ...sources].flatMap(filesOf);
}

function runsClient({ rule }: Candidate, client: string | undefined): Notice {
  const start = `its start (${rule}) does not seem to listen`;
  const why =
    client === undefined
      ? `PM2 starts the app once, and ${start}.`
      : `The app depends on ${client}, and ${start}.`;
  return {
    code: 'without_workers',
    message: `${why} So the app runs without a port, as the background process "${mainProcess}".`,
    hint: 'If the app answers requests, set "workers": 1 in sluice.json.',
  };
}

const nothingStarts: Notice = {
  code: 'without_workers',
  message: 'The app has "processes" but no start command, so it runs without a port.',
  hint: 'To confirm this, set "workers": 0 in sluice.json. If the app answers requests, set "start".',
};

const noWeb: Notice = {
  code: 'without_workers',
  message:
    'The Procfile has no "web", and nothing that starts seems to listen. So the app runs without a port.',
  hint: 'If the app answers requests, name its process "web", or set "workers": 1 in sluice.json.',
};

function startNotRun(start: string): Notice {
  return {
    code: 'start_not_run',
    message: `Sluice does not run "start" (${start}), because "workers" is 0 and the app has "processes".`,
    hint: 'To run it as well, add it to "processes".',
  };
}
