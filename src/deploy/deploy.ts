import { addAbortListener } from 'node:events';
import { availableParallelism } from 'node:os';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { builtWith } from '../apps/built-with.ts';
import { superseded } from '../apps/deploy-queue.ts';
import type { Environment } from '../apps/environment.ts';
import { giveToApp } from '../apps/files.ts';
import { leftBehindNotice } from '../apps/left-behind.ts';
import { behindNginxNotices } from '../apps/release-view.ts';
import { secretValues } from '../apps/variable-set.ts';
import { build } from '../build/build.ts';
import { namedVariables } from '../build/named-variables.ts';
import type { NodeChoice } from '../build/node-version/choose.ts';
import { planDeploy } from '../build/plan.ts';
import type { AppSettings } from '../config/app-settings.ts';
import { describeOrigins } from '../config/settings-layers.ts';
import type { BootResult, Notice } from '../protocol/runner.ts';
import { ensureSpace } from '../releases/disk.ts';
import {
  hasWorkers,
  type Release,
  type ReleaseNode,
  type ReleaseRecord,
  type ReleaseSource,
} from '../releases/release.ts';
import { counted, formatDuration } from '../system/text/format.ts';
import { addDeclaredDomains } from './declared-domains.ts';
import { Deployment } from './deployment.ts';
import { evaluateAsApp } from './evaluate.ts';
import type { DeployWatcher } from './events.ts';
import { failingProcesses } from './failing-processes.ts';
import { giveUpPort } from './give-up-port.ts';
import { commandContext, postSwitch, preSwitch } from './hooks.ts';
import { keepIfWorking, keptStores } from './kept.ts';
import { availableNodes, ensureNode, nodeOf, removeUnusedNodes } from './node.ts';
import { passedOn } from './passed-on.ts';
import { type BuildResult, type PlanWithSecrets, publish } from './publish.ts';
import { receive } from './receive.ts';
import { secretsOf } from './spec.ts';
import { moveTraffic } from './traffic.ts';
import { followWatch } from './watch.ts';

/** Upload that is to become a release. */
export interface DeploySource {
  origin: ReleaseSource;
  /** a tar, plain or compressed with gzip or zstd; read to its end unless refused */
  body: Readable;
  /** bytes that the sender announced; null if it announced none */
  contentLength: number | null;
  /** paths of submodules, whose content is not in the tar */
  submodules?: string[];
  /** called at the step `check`: returns a notice about the release that is live then */
  review?: () => Promise<Notice | null>;
  /** true if the author has access to all apps, and so may add host names that the settings declare */
  mayAddDomains?: boolean;
  /** true to install and to build without the packages and caches of earlier releases */
  noCache?: boolean;
  /** called if the runner has returned to the release before, because this one is worse */
  reverted?: () => Promise<void>;
  /** aborted, with the reason, when the client is gone: cancels the deploy, unless its switch has begun */
  abandoned?: AbortSignal;
}

/**
 * Deploys a release: the recipe. If a step before `switch` fails, or the switch, the live release keeps serving. Whatever
 * happens, no process and no lock remains: the signal ends build jobs, `moveTraffic` discards the generation, and scopes release
 * the traffic lock and the turn.
 * @param stopping aborted when the server stops
 * @throws AppError of the step that failed
 */
export async function deploy(
  environment: Environment,
  source: DeploySource,
  watch: DeployWatcher,
  stopping: AbortSignal,
): Promise<Release> {
  const deployment = await accept(environment, source, watch);
  const abort = AbortSignal.any([stopping, source.abandoned ?? stopping]);
  using _ = addAbortListener(abort, () => deployment.cancel(abort.reason));
  try {
    const member = await receive(deployment, source);
    using _turn = await takeTurn(deployment);
    const planned = await check(deployment, source, member);
    await using kept = keepIfWorking(deployment);
    const { plan, ...built } = await buildTree(deployment, planned, member, source.noCache ?? false);
    const { settings } = plan;
    const release = await publish(deployment, plan, built);
    await preSwitch(deployment, release);
    await goLive(deployment, release, source);
    kept.works();
    // The remaining steps run meanwhile.
    const failing = failingProcesses(deployment.environment, release);
    await addDeclaredDomains(deployment, release, source.mayAddDomains ?? false);
    await postSwitch(deployment, release, stopping);
    await clean(deployment, settings);
    for (const notice of await failing) await deployment.lateNotice(notice);
    return await deployment.finished();
  } catch (error) {
    throw await deployment.failed(error);
  } finally {
    deployment.end();
  }
}

/**
 * Gives the deploy its number. Nothing is written before, so that a full disk is reported and not filled further. An
 * upload that is announced as too large needs no space: the step `receive` refuses it.
 */
async function accept(environment: Environment, source: DeploySource, watch: DeployWatcher) {
  const { origin, contentLength } = source;
  const { maxUploadBytes } = environment.appliance.settings;
  await environment.store.settled();
  await ensureFree(environment, Math.min(contentLength ?? 0, maxUploadBytes));
  return new Deployment(environment, await environment.store.allocate(origin), watch);
}

/** Waits for the turn. Rejects the deploy if a newer one is building, waiting or live. */
async function takeTurn(deployment: Deployment): Promise<Disposable> {
  deployment.enter('wait');
  const { number, environment } = deployment;
  using turn = new DisposableStack();
  turn.use(await environment.deploys.turn(deployment));
  const releases = await environment.store.outlines();
  const newer = releases.find((other) => other.number > number && other.liveAt !== null);
  if (newer !== undefined) throw superseded(number, newer.number);
  return turn.move();
}

/** Plans the release. Finds errors early that would otherwise appear after a long build. */
async function check(
  deployment: Deployment,
  { review }: DeploySource,
  member: string,
): Promise<PlanWithSecrets> {
  deployment.enter('check');
  const { environment } = deployment;
  const reviewed = await review?.();
  if (reviewed) deployment.notice(reviewed);
  const plan = await planTree(deployment, member, false);
  await ensureFree(environment, 0);
  const leftBehind = await leftBehindNotice(environment, plan.settings);
  if (leftBehind !== null) deployment.notice(leftBehind);
  return { ...plan, node: { ...plan.node, ...(await useNode(deployment, plan.node)) } };
}

/** @param isInstalled true if the packages of the app are installed */
async function planTree(
  deployment: Deployment,
  member: string,
  isInstalled: boolean,
): Promise<PlanWithSecrets> {
  const { environment, number, signal, tree } = deployment;
  const log = (line: string) => deployment.log(line);
  const variables = await environment.variableSet();
  deployment.hide(secretValues(variables));
  const plan = await planDeploy(tree, {
    nodes: availableNodes(environment.appliance, { log, signal }),
    cores: availableParallelism(),
    environment: environment.id.environment,
    evaluate: evaluateAsApp(deployment, variables.app),
    variables: variables.app,
    assignedPort: (await environment.state()).port,
    runsIn: environment.paths.release(number).directory,
    ...{ member, isInstalled },
  });
  const origins = describeOrigins(plan.origins);
  if (origins !== '') log(`settings: ${origins}`);
  deployment.hide(secretsOf([], { settings: plan.settings }));
  for (const notice of plan.notices) deployment.notice(notice);
  return { ...plan, passedOn: passedOn(plan.settings, secretValues(variables)) };
}

/**
 * Records the Node.js of the release, so that nothing removes it, and provides it.
 * @returns the Node.js that runs the release: another one if the installation fails and the app accepts that one
 * @throws AppError `install_failed`
 */
async function useNode(deployment: Deployment, choice: NodeChoice): Promise<ReleaseNode> {
  const { environment, number, signal } = deployment;
  const { version, own, requests, reason } = choice;
  const log = (line: string) => deployment.log(line);
  log(`Node.js ${version}: ${reason}`);
  const node = { version, own, requests };
  await environment.store.update(number, { node });
  const provided = (await ensureNode(environment.appliance, node, { log, signal })) ?? node;
  if (provided.version !== version) await environment.store.update(number, { node: provided });
  return provided;
}

/**
 * Runs the steps `preBuild` to `prune` that the app has.
 * @returns the package manager, the time of the steps in ms, and the plan, which is final after the install
 */
async function buildTree(
  deployment: Deployment,
  planned: PlanWithSecrets,
  member: string,
  noCache: boolean,
): Promise<BuildResult & { plan: PlanWithSecrets }> {
  const { settings, start, startsIn, node } = planned;
  const { environment, signal } = deployment;
  const { appliance } = environment;
  if (appliance.builds.busy) deployment.log('waiting for another build to end');
  using _slot = await appliance.builds.take(signal);
  const startedAt = performance.now();
  await giveToApp(environment, deployment.tree);
  await deployment.moveToBuild();
  const { tree } = deployment;
  const variables = await environment.variableSet();
  const { preBuild, postBuild } = settings.hooks;
  const named = await namedVariables(tree, {
    directories: ['', settings.directory, startsIn],
    commands: [preBuild, postBuild, settings.build.command].filter((command) => typeof command === 'string'),
  });
  // A value such as `staging` or `development` changes what build tools write.
  const { NODE_ENV: _, ...ofSettings } = settings.env;
  const background = [...start.candidates, ...start.background].flatMap(({ command }) => command ?? []);
  const secrets = secretsOf(secretValues(variables), { background, settings });
  deployment.hide(secrets);
  let plan = planned;
  const planAgain = async () => {
    plan = await planTree(deployment, member, true);
    if (plan.node.version !== node.version) deployment.notice(lateNodeNotice(plan.node, node));
    plan = { ...plan, node };
    return { settings: plan.settings, start: plan.start, app: plan.startsIn, packages: plan.packages };
  };
  const isOpen = planned.open.some(({ decision }) => decision === 'settings');
  const built = await build({
    ...(isOpen ? { planAgain } : { packages: planned.packages }),
    directory: tree,
    settings,
    app: startsIn,
    start,
    about: deployment.about,
    tools: appliance.paths.tools,
    cache: environment.paths.cache,
    ...(await keptStores(deployment, noCache)),
    node: nodeOf(appliance, node),
    nodeVersion: node.version,
    env: { ...ofSettings, ...variables.build, ...variables.app },
    buildOnly: Object.keys(variables.build),
    ...(await commandContext(deployment, secrets)),
    step: (name) => deployment.enter(name),
    notice: (notice) => deployment.notice(notice),
  });
  const buildMs = Math.round(performance.now() - startedAt);
  return { plan, built, buildMs, builtWith: builtWith(variables, named) };
}

/** Returns the notice that the packages of a release were installed before the request for its Node.js was known. */
function lateNodeNotice(wanted: NodeChoice, used: NodeChoice): Notice {
  return {
    code: 'node_chosen_too_late',
    message: `the release runs on Node.js ${used.version}, and not ${wanted.version}: ${wanted.reason}`,
    hint: `The file of PM2 asks for this version, and Sluice could read the file only after the install. To use the version, write {"node": "${wanted.version.split('.')[0]}"} in sluice.json.`,
  };
}

/** Runs the steps `boot`, `switch` and `record` under the traffic lock, which a rollback waits for. Hooks run outside it. */
async function goLive(
  deployment: Deployment,
  release: ReleaseRecord,
  { reverted = async () => undefined }: DeploySource,
): Promise<void> {
  const { environment, signal } = deployment;
  using _traffic = await environment.trafficLock.take(signal);
  const booted = (result: BootResult) => reportBoot(deployment, release, result);
  const move = () => moveTraffic(environment, release, signal, { observer: deployment, booted, watch: true });
  const switched = await move().catch(async (error: unknown) => {
    if (!(await giveUpPort(environment, error, (line) => deployment.log(line)))) throw error;
    return move();
  });
  const generation = switched?.generation ?? (await environment.store.active())?.generation;
  if (generation !== undefined) followWatch(environment, release, { generation }, reverted);
  if (switched !== null) {
    const pause = `: new connections waited for up to ${switched.pauseMs.toFixed(1)} ms`;
    deployment.log(`switched${hasWorkers(release) ? pause : ''}`);
  }
  await deployment.afterwards('record', async () => {
    const { number, durationMs, notices } = deployment;
    await environment.store.markLive(number, new Date());
    await environment.store.update(number, { durationMs, notices });
  });
}

function reportBoot(
  deployment: Deployment,
  { run }: ReleaseRecord,
  { workers, bootMs, protocol, notices }: BootResult,
): void {
  const { appliance, id } = deployment.environment;
  for (const notice of notices) deployment.notice(notice);
  const [domain] = appliance.domains.of(id);
  if (domain !== undefined)
    for (const notice of behindNginxNotices(workers === 0 ? null : protocol, domain))
      deployment.notice(notice);
  const processes = run?.background.reduce((sum, { count }) => sum + count, 0) ?? 0;
  const what =
    workers === 0
      ? `${processes} background ${processes === 1 ? 'process' : 'processes'}`
      : counted(workers, 'worker');
  deployment.log(`${what} healthy after ${formatDuration(bootMs)}`);
}

async function clean(deployment: Deployment, { keepReleases }: AppSettings): Promise<void> {
  await deployment.afterwards('clean', async () => {
    const { appliance, trafficLock, name, store } = deployment.environment;
    using held = new DisposableStack();
    const moving = appliance.moveLock.tryMove();
    if (moving === undefined) {
      deployment.log('no old release is removed while a backup is made; the next deploy does it');
      return;
    }
    // A rollback could choose a release while it is being removed.
    using _traffic = await trafficLock.take();
    const running = await runningReleases(deployment.environment, keepReleases);
    const oneOffs = await appliance.runner.oneOffs();
    const inUse = oneOffs.filter(({ key }) => key === name).map(({ release }) => release);
    held.use(moving);
    const { expired: removed, emptied } = await store.retain(keepReleases, new Set([...running, ...inUse]));
    // The files of a large release take a second to remove: the deploy does not wait, and the next one does.
    const removal = held.move();
    void emptied
      .catch((error: unknown) => appliance.log.error('files of a removed release left', { app: name, error }))
      .finally(() => removal.dispose());
    if (removed.length > 0) deployment.log(`removed release ${removed.join(', ')}: ${keepReleases} are kept`);
    const programs = oneOffs.map(({ node }) => node);
    const nodes = await removeUnusedNodes(appliance, deployment.environment.all, programs);
    if (nodes.length > 0) deployment.log(`removed Node.js ${nodes.join(', ')}: no release needs them`);
  });
}

/** Time for the workers of a release that was on standby to end, in ms. A release with requests in flight takes longer. */
const endsWithin = 500;

/** Returns the releases whose workers drain or are on standby, and the one to which the runner may return. Waits for a moment if one of them could be removed after that. */
async function runningReleases({ appliance, name, store }: Environment, keep: number): Promise<number[]> {
  const expired = new Set(await store.expired(keep));
  const latest = performance.now() + endsWithin;
  for (;;) {
    const [status] = await appliance.runner.status(name);
    const draining = status?.draining ?? [];
    if (!draining.some((release) => expired.has(release)) || performance.now() > latest)
      return [...draining, status?.standby?.release, status?.returnsTo].filter((release) => release != null);
    await sleep(20);
  }
}

/** @throws AppError `disk_full` */
async function ensureFree({ appliance, paths, all }: Environment, needed: number): Promise<void> {
  const { minFreeBytes: minFree } = appliance.settings;
  const stores = async () => (await all()).map(({ store }) => store);
  await ensureSpace(paths.directory, { needed, minFree, stores });
}
