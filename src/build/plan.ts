import { join } from 'node:path';
import { type ReleaseSettings, releaseSettings, type SettingsChoice } from '../config/app-directory.ts';
import type { Origins } from '../config/settings-layers.ts';
import type { Notice } from '../protocol/runner.ts';
import type { RunPlan } from '../releases/release.ts';
import { type BuildPlan, planBuild, planPackages } from './build-plan.ts';
import { checkEncryptedFiles } from './encrypted-files.ts';
import { md4Notice } from './md4.ts';
import { type AvailableNodes, chooseNode, type NodeChoice } from './node-version/choose.ts';
import { readNodeRequests } from './node-version/requests.ts';
import { noPm2, type Pm2Circumstances, type Pm2Reading, readPm2 } from './pm2/read.ts';
import { type ProcfileSettings, procfileSettings } from './procfile.ts';
import { unreadSettingsNotices } from './start-command/notices.ts';
import { noFacts } from './start-command/project.ts';
import {
  completeBackground,
  completeStart,
  decideStart,
  describeDecision,
  openStart,
  type StartDecision,
  startDirectory,
  startFiles,
} from './start-command/start-plan.ts';
import { checkAffinity, resolveWorkers, type WorkerCount } from './start-command/workers.ts';
import type { StaticSite } from './static-site/find.ts';
import { unreadFilesNotices } from './unread-files.ts';

/** Facts beside the files that a plan depends on. */
export interface Circumstances extends Pick<SettingsChoice, 'environment'>, Pm2Circumstances {
  nodes: AvailableNodes;
  /** member of a workspace that is the app, from the setting `root`; undefined or '' if the release is the app */
  member?: string;
}

/** All that a deploy decides from the files alone, before install and build. */
export interface DeployPlan {
  settings: ReleaseSettings;
  /** source of each setting that is not a default */
  origins: Origins;
  start: StartDecision;
  /** directory of the file that starts the app, relative to the release; '' for the release itself */
  startsIn: string;
  /** static site to serve; undefined for an app that starts a program, and if only the build can show what there is to run */
  site: StaticSite | undefined;
  /** undefined if there is nothing to install and to build, and if the hook `preBuild` may change that */
  build: BuildPlan | undefined;
  /** further packages of the release to install and to build */
  packages: BuildPlan[];
  /** start for people, such as `starts with server.js (the file server.js)` */
  description: string;
  /** decisions that only the build can complete */
  open: OpenDecision[];
  node: NodeChoice;
  workers: WorkerCount;
  notices: Notice[];
}

/** Decision that is not final before the build. */
export interface OpenDecision {
  decision: 'install' | 'settings' | 'start';
  /** sentence for people */
  reason: string;
}

/** Number of workers of an app that runs only background processes. */
const noWorkers: WorkerCount = {
  count: 0,
  reason: 'no workers: the app runs only background processes, without a port',
};

/** Number of workers that `auto` is in exec mode: the command may start other processes than those that serve. */
const oneInExecMode: WorkerCount = {
  count: 1,
  reason:
    '1 worker, because a command in exec mode may start several processes. If the app supports several workers, set "workers" in sluice.json: "max" is one per core.',
};

/** Number of workers that `auto` is for a static site. */
const oneForSite: WorkerCount = {
  count: 1,
  reason: '1 worker, because a static site needs little CPU. For more, set "workers" in sluice.json.',
};

/**
 * Returns what a deploy of `directory` would decide. Reads files only: writes nothing, and starts no program but the evaluation of a file
 * of PM2.
 * @throws AppError `encrypted_files`, `invalid_pm2_file`, `nothing_to_run`, `unsupported_start`, `invalid_settings`, `unsupported_node_version`; errors of `nodes`
 */
export async function planDeploy(directory: string, circumstances: Circumstances): Promise<DeployPlan> {
  const { nodes, cores, member = '', environment, variables } = circumstances;
  await checkEncryptedFiles(directory);
  let procfile: ProcfileSettings = { layers: [], notices: [] };
  let pm2 = noPm2;
  const layers = async (own: ReleaseSettings) => {
    procfile = await procfileSettings(directory, own.directory);
    pm2 = await readPm2(directory, own, circumstances);
    return [...procfile.layers, ...pm2.layers];
  };
  const { settings, ...original } = await releaseSettings(directory, member, { environment, layers });
  const { origins } = original;
  if (pm2.missing !== undefined)
    return await planUntilInstall(directory, { settings, origins }, pm2.missing, nodes);
  const app = join(directory, settings.directory);
  const named = await planPackages(directory, settings, undefined, pm2.directories);
  const buildsPackages = named.some(({ scripts, installs }) => scripts.length > 0 || installs);
  const start = await decideStart(directory, settings, { ...original, buildsPackages });
  const node = await chooseNode(await readNodeRequests(directory, settings), nodes);
  const startsIn = startDirectory(start, settings);
  const { preBuild } = settings.hooks;
  const build = preBuild === undefined ? await planBuild(directory, settings, startsIn) : undefined;
  const packages = await planPackages(directory, settings, build, pm2.directories);
  const now =
    isBuilt(settings, start, build) && packages.length === 0
      ? await startNow(directory, settings, start)
      : undefined;
  const { site, command } = start.candidates[0] ?? {};
  const isExec = now === undefined ? command?.target.kind === 'shell' : now.exec !== undefined;
  const ofFirst = isExec ? oneInExecMode : site && oneForSite;
  const fixed = now === undefined ? ofFirst : autoWorkers(now);
  const files = await startFiles(directory, start.candidates.slice(0, 1));
  const workers = start.hasWorkers
    ? ((settings.workers === 'auto' ? fixed : undefined) ??
      (await resolveWorkers(settings, directory, cores, startsIn, files)))
    : noWorkers;
  checkAffinity(settings, isExec, workers.count);
  const notices = [
    ...node.notices,
    ...procfile.notices,
    ...start.notices,
    ...(build?.userOfMd4 ? [md4Notice(build.userOfMd4)] : []),
    ...(now?.notices ?? []),
    ...[build, ...packages].flatMap((each) => each?.packageManager.notices ?? []),
    ...pm2.notices,
    ...(await unreadFilesNotices(app, { ...settings.env, ...variables })),
    ...(member === '' ? await unreadSettingsNotices(directory, settings.directory) : []),
  ];
  const description = now?.description ?? (await describeDecision(directory, start));
  const open = now === undefined ? await openDecisions(directory, settings, start) : [];
  return {
    ...{ settings, origins, start, startsIn, site, build, packages },
    ...{ description, open, node, workers, notices },
  };
}

/** Start of which nothing is known before the install. */
const unknownStart: StartDecision = {
  ...{ candidates: [], hasWorkers: true, facts: noFacts, background: [], builds: [], keep: [], notices: [] },
};

/**
 * Plans a deploy up to the install, because only the install can show the settings for PM2. The deploy plans again then.
 * @throws AppError `invalid_pm2_file` if there is no install
 */
async function planUntilInstall(
  directory: string,
  { settings, origins }: Pick<DeployPlan, 'settings' | 'origins'>,
  { file, module, error }: NonNullable<Pm2Reading['missing']>,
  nodes: AvailableNodes,
): Promise<DeployPlan> {
  const node = await chooseNode(await readNodeRequests(directory, settings), nodes);
  const build = settings.hooks.preBuild === undefined ? await planBuild(directory, settings) : undefined;
  if (settings.hooks.preBuild === undefined && !build?.installs) throw error;
  const reason = `${file} needs the package ${module}, so the install decides the settings and the start.`;
  return {
    ...{ settings, origins, site: undefined, build, packages: [], node },
    start: unknownStart,
    startsIn: settings.directory,
    description: `starts as ${file} says`,
    open: [{ decision: 'settings', reason }],
    workers: { count: 1, reason: `${file} decides the number of workers.` },
    notices: node.notices,
  };
}

/** Returns true if no command of the build changes the files of the release. */
function isBuilt(
  { hooks }: ReleaseSettings,
  { builds }: StartDecision,
  build: BuildPlan | undefined,
): boolean {
  const { preBuild, postBuild } = hooks;
  return preBuild === undefined && postBuild === undefined && builds.length === 0 && build === undefined;
}

/** Completes the start of a release that is not built, so that `sluice check` reports the errors of its deploy. */
async function startNow(directory: string, settings: ReleaseSettings, decision: StartDecision) {
  await completeBackground(directory, settings, decision);
  return completeStart(directory, settings, decision);
}

async function openDecisions(
  directory: string,
  { hooks: { preBuild } }: ReleaseSettings,
  start: StartDecision,
): Promise<OpenDecision[]> {
  const ofHook = 'The hook "preBuild" may change what is installed and built.';
  const ofStart = await openStart(directory, start);
  return [
    ...(preBuild === undefined ? [] : [{ decision: 'install' as const, reason: ofHook }]),
    ...(ofStart === undefined ? [] : [{ decision: 'start' as const, reason: ofStart }]),
  ];
}

/** Returns the number of workers of a start for which `auto` is always one worker. */
export function autoWorkers(start: Pick<RunPlan, 'exec' | 'static'>): WorkerCount | undefined {
  if (start.exec !== undefined) return oneInExecMode;
  return start.static && oneForSite;
}
