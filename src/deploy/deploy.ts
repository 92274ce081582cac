import { availableParallelism } from 'node:os';
import type { Readable } from 'node:stream';
import { behindNginx } from '../apps/behind-nginx.ts';
import { superseded } from '../apps/deploy-queue.ts';
import type { Environment } from '../apps/environment.ts';

import { leftBehindNotice } from '../apps/left-behind.ts';
import { build } from '../build/build.ts';
import { type ArchiveLimits, receiveArchive } from '../build/receive/receive.ts';
import { checkStart } from '../build/start-command/check.ts';
import { nodeVersionNotices, otherToolsNotices } from '../build/start-command/notices.ts';
import { resolveStart } from '../build/start-command/start-plan.ts';
import { resolveWorkers } from '../build/start-command/workers.ts';
import { type AppSettings, loadAppSettings, topOf } from '../config/app-settings.ts';
import type { Notice } from '../protocol/runner.ts';
import { directorySize, ensureSpace } from '../releases/disk.ts';
import type { Release, ReleaseRecord, ReleaseSource } from '../releases/release.ts';
import { counted, formatBytes, formatDuration } from '../system/text/format.ts';
import { whatElseRuns } from './also-runs.ts';
import { commandContext } from './command-context.ts';
import { assertComplete } from './complete.ts';
import { Deployment } from './deployment.ts';
import type { DeployEvent } from './events.ts';
import { postSwitch, preSwitch } from './hooks.ts';
import { describeOrigin } from './origin.ts';
import { rootOf } from './root.ts';
import { Generation } from './traffic.ts';

/** What is to become a release. */
export interface DeploySource {
  origin: ReleaseSource;
  /** a tar, plain or compressed with gzip or zstd; read to its end unless refused */
  body: Readable;
  /** bytes announced by the sender; null where it did not say */
  contentLength: number | null;
  /** paths of directories whose content is in another repository, and so not in the tar */
  submodules?: string[];
  /** asked when its turn has come: what whoever asked for it should know of what is live by then */
  review?: () => Promise<Notice | null>;
  /** aborted, with the reason, when whoever asked for it is gone: it is cancelled then, unless its switch has begun */
  abandoned?: AbortSignal;
}

/**
 * The recipe: every release goes live this way, and a failure at any step before `switch` touches nothing that is live.
 * What was started on the way is ended on every path: the job of a build by its signal, a generation, the traffic and
 * the turn by going out of scope.
 * @param stopping aborted when the server is about to end
 * @throws AppError of the step that failed
 */
export async function deploy(
  environment: Environment,
  source: DeploySource,
  watch: (event: DeployEvent) => void,
  stopping: AbortSignal,
): Promise<Release> {
  const deployment = await accept(environment, source, watch);
  using _ = cancelWhenAborted(deployment, [stopping, source.abandoned]);
  try {
    await receive(deployment, source);
    using _turn = await takeTurn(deployment);
    const settings = await check(deployment, source);
    const buildMs = await buildTree(deployment, settings);
    const release = await publish(deployment, settings, buildMs);
    await preSwitch(deployment, release);
    await goLive(deployment, release);
    await postSwitch(deployment, release, stopping);
    await clean(deployment, settings);
    return await deployment.finished();
  } catch (error) {
    throw await deployment.failed(error);
  } finally {
    deployment.end();
  }
}

function cancelWhenAborted(deployment: Deployment, signals: (AbortSignal | undefined)[]): Disposable {
  const all = AbortSignal.any(signals.filter((signal) => signal !== undefined));
  const cancel = () => deployment.cancel(all.reason);
  all.addEventListener('abort', cancel);
  if (all.aborted) cancel();
  return { [Symbol.dispose]: () => all.removeEventListener('abort', cancel) };
}

/**
 * Gives it a number. Before that nothing is written, so that a full disk is told of rather than filled further. An upload
 * that is announced as larger than any may be needs no room: it is refused when it is to be received.
 */
async function accept(environment: Environment, source: DeploySource, watch: (event: DeployEvent) => void) {
  const { origin, contentLength } = source;
  await ensureRoom(environment, Math.min(contentLength ?? 0, environment.appliance.settings.maxUploadBytes));
  return new Deployment(environment, await environment.store.allocate(origin), watch);
}

async function receive(deployment: Deployment, source: DeploySource): Promise<void> {
  deployment.enter('receive');
  const { signal, tree, environment } = deployment;
  const { body, contentLength, origin } = source;
  for (const line of describeOrigin(origin)) deployment.log(line);
  let root = '';
  const received = await receiveArchive(body, tree, limitsOf(environment, origin), {
    contentLength,
    signal,
    keepFolder: origin.kind === 'git',
    async chooseRoot(all) {
      root = await rootOf(all, environment.id.app);
      return root;
    },
  });
  const { uploadBytes, entries, extractedBytes, lfsPointers } = received;
  const unpacked = `${entries} entries, ${formatBytes(extractedBytes)} unpacked`;
  deployment.log(origin.kind === 'git' ? unpacked : `received ${formatBytes(uploadBytes)}: ${unpacked}`);
  if (root !== '') deployment.log(`the app is in ${root}`);
  await assertComplete(tree, { root, lfsPointers, submodules: source.submodules ?? [] });
}

/** What git has taken in was held to the limit of uploads then. The tar that it makes is held to what it unpacks to. */
function limitsOf({ appliance: { settings } }: Environment, { kind }: ReleaseSource): ArchiveLimits {
  return kind === 'git' ? { ...settings, maxUploadBytes: Number.MAX_SAFE_INTEGER } : settings;
}

/** The newest upload wins, also over one that was uploaded faster and is live by now. */
async function takeTurn(deployment: Deployment): Promise<Disposable> {
  deployment.enter('wait');
  const { number, environment } = deployment;
  using turn = new DisposableStack();
  turn.use(await environment.deploys.turn(deployment));
  const newer = (await environment.store.list()).find(
    (other) => other.number > number && other.liveAt !== null,
  );
  if (newer !== undefined) throw superseded(number, newer.number);
  return turn.move();
}

/** Finds out early what would be a pity to find out after a long build. */
async function check(deployment: Deployment, { review }: DeploySource): Promise<AppSettings> {
  deployment.enter('check');
  const notice = await review?.();
  if (notice) deployment.notice(notice);
  const { environment, tree } = deployment;
  const settings = await loadAppSettings(topOf(tree));
  await checkStart(tree, settings);
  await ensureRoom(environment, 0);
  for (const notice of await nodeVersionNotices(tree, process.versions.node)) deployment.notice(notice);
  for (const notice of await otherToolsNotices(tree)) deployment.notice(notice);
  const leftBehind = await leftBehindNotice(environment, settings.shared);
  if (leftBehind !== null) deployment.notice(leftBehind);
  return settings;
}

/** Steps `preBuild` to `prune`, as far as there is something to do. @returns how long they took, in ms */
async function buildTree(deployment: Deployment, settings: AppSettings): Promise<number> {
  const { environment, signal, tree } = deployment;
  const { appliance } = environment;
  if (appliance.builds.busy) deployment.log('waiting for another build to end');
  using _slot = await appliance.builds.take(signal);
  const startedAt = performance.now();
  await environment.files.handOver(deployment.number);
  const env = await environment.variables();
  deployment.hide(Object.values(env));
  await build({
    directory: tree,
    settings,
    tools: appliance.paths.tools,
    cache: environment.paths.cache,
    node: appliance.node,
    ...(await commandContext(deployment, env)),
    step: (name) => deployment.enter(name),
    notice: (notice) => deployment.notice(notice),
  });
  return Math.round(performance.now() - startedAt);
}

/** Settles how it is run, and gives it its place among the releases. From here on it does not change. */
async function publish(
  deployment: Deployment,
  settings: AppSettings,
  buildMs: number,
): Promise<ReleaseRecord> {
  deployment.enter('publish');
  const { environment, number, tree } = deployment;
  const { from, notices, ...start } = await resolveStart(tree, settings);
  for (const notice of notices) deployment.notice(notice);
  const { count, reason } = await resolveWorkers(settings.workers, tree, availableParallelism());
  deployment.log(`starts with ${start.script} (${from}), in ${counted(count, 'worker')}`);
  if (reason !== null) deployment.log(reason);
  const background = await whatElseRuns(deployment, settings);
  await share(deployment, settings.shared);
  const sizeBytes = await directorySize(tree);
  const run = { settings, ...start, workers: count, background };
  const release = await environment.store.update(number, { run, buildMs, sizeBytes });
  await environment.store.publish(number);
  return release;
}

async function share(deployment: Deployment, paths: string[]): Promise<void> {
  const { environment, tree } = deployment;
  const active = await environment.store.active();
  const live = active === null ? undefined : environment.paths.release(active.release).directory;
  const { moveLock } = environment.appliance;
  const mayMove = () => {
    if (moveLock.isHeld) deployment.log('waiting for a backup to end, before data is moved');
    return moveLock.move(deployment.signal);
  };
  const adopted = await environment.files.share(tree, paths, live, mayMove);
  if (adopted.length > 0) {
    deployment.log(`shared from now on, as release ${active?.release} left it: ${adopted.join(', ')}`);
  }
}

/** Holds the traffic for as long as it takes, and no longer: whoever must roll back waits for no hook. */
async function goLive(deployment: Deployment, release: ReleaseRecord): Promise<void> {
  using _traffic = await deployment.environment.traffic.take(deployment.signal);
  await using generation = await boot(deployment, release);
  await switchTo(deployment, generation);
  await record(deployment);
}

async function boot(deployment: Deployment, release: ReleaseRecord): Promise<Generation> {
  deployment.enter('boot');
  const { environment, signal } = deployment;
  const generation = await Generation.boot(environment, release, {
    signal,
    onLine: (line) => deployment.log(line),
  });
  const { workers, bootMs, protocol, notices } = generation.booted;
  for (const notice of notices) deployment.notice(notice);
  const [domain] = environment.appliance.domains.of(environment.id);
  if (domain !== undefined) for (const notice of behindNginx(protocol, domain)) deployment.notice(notice);
  deployment.log(`${counted(workers, 'worker')} healthy after ${formatDuration(bootMs)}`);
  return generation;
}

async function switchTo(deployment: Deployment, generation: Generation): Promise<void> {
  deployment.enter('switch');
  const switched = await generation.switch();
  deployment.switched();
  if (switched !== null) {
    deployment.log(`switched: nobody accepted connections for ${switched.pauseMs.toFixed(1)} ms`);
  }
}

async function record(deployment: Deployment): Promise<void> {
  await deployment.afterwards('record', async () => {
    const { environment, number, durationMs, notices } = deployment;
    await environment.store.markLive(number, new Date());
    await environment.store.update(number, { durationMs, notices });
  });
}

async function clean(deployment: Deployment, { keepReleases }: AppSettings): Promise<void> {
  await deployment.afterwards('clean', async () => {
    const { environment } = deployment;
    using moving = environment.appliance.moveLock.tryMove();
    if (moving === undefined) {
      deployment.log('no old release is removed while a backup is made; the next deploy does it');
      return;
    }
    // Nobody must go back to a release while it is being removed.
    using _traffic = await environment.traffic.take();
    const running = await environment.appliance.runner.status();
    const draining = running.find(({ key }) => key === environment.name)?.draining ?? [];
    const removed = await environment.store.retain(keepReleases, new Set(draining));
    if (removed.length > 0) deployment.log(`removed release ${removed.join(', ')}: ${keepReleases} are kept`);
  });
}

async function ensureRoom({ appliance, paths, all }: Environment, bytes: number): Promise<void> {
  const { minFreeBytes: minFree } = appliance.settings;
  const stores = (await all()).map(({ store }) => store);
  await ensureSpace(paths.directory, { needed: bytes, minFree, stores });
}
