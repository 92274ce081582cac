import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Environment } from '../apps/environment.ts';
import { AppError } from '../errors/app-error.ts';
import type { BootResult, Notice, SwitchResult } from '../protocol/runner.ts';
import type { ReleaseNode, ReleaseRecord } from '../releases/release.ts';
import { keepAside } from '../system/fs/files.ts';
import { Masker, maskError } from '../system/text/mask/masker.ts';
import { ensureNode } from './node.ts';
import { withPortlessHint } from './portless-hint.ts';
import type { Progress } from './progress.ts';
import { generationSpec, type SpecChanges, secretsOf, variablesOf } from './spec.ts';

/** Change of an environment that a switch tries: it is kept only if a generation boots with it and gets the traffic. */
export interface TrialChange extends SpecChanges {
  /** paths of the files that `keep` replaces */
  files: string[];
  keep(): Promise<void>;
}

interface MoveOptions extends Pick<SpecChanges, 'isProven'> {
  change?: TrialChange;
  /** gets the steps, and the runner's lines about the boot, without secrets; if a step cannot begin, the switch ends */
  observer?: Pick<Progress, 'enter' | 'log' | 'switched'>;
  /** true to return to the release before if this one is worse */
  watch?: boolean;
  /** true if the release was live when the caller chose it: the switch fails if another one is live meanwhile */
  restart?: boolean;
  /** called before the switch */
  booted?: (result: BootResult) => void | Promise<void>;
}

/**
 * Boots a generation of `release` and switches the traffic to it: the one way to do so. If anything fails before the switch is
 * committed, the generation is discarded, `change` is taken back, and the traffic stays where it was. The
 * caller holds the lock `environment.trafficLock`.
 * @returns null if the switch was made, but the connection to the runner was lost before its answer
 * @throws AppError of a failed boot or switch; the reason of `signal`
 */
export async function moveTraffic(
  environment: Environment,
  release: ReleaseRecord,
  signal: AbortSignal,
  { change, observer, booted: onBooted, isProven = false, watch = false, restart = false }: MoveOptions = {},
): Promise<SwitchResult | null> {
  observer?.enter('boot');
  const log = (line: string) => observer?.log(line);
  const former = await environment.liveRelease();
  const node = await provideNode(environment, change?.node ?? release.node, signal, log);
  const changes = {
    ...change,
    ...node,
    isProven: isProven && isDeepStrictEqual(node.node, release.node),
  };
  const booted = await bootGeneration(environment, release, signal, changes, log);
  let switched: SwitchResult | null;
  try {
    await onBooted?.(booted);
    signal.throwIfAborted();
    observer?.enter('switch');
    const finish = () => switchGeneration(environment, release, { ...booted, ...node }, { watch, restart });
    switched = change === undefined ? await finish() : await withChange(environment, change, finish);
  } catch (error) {
    await discardGeneration(environment, booted.generation);
    throw error;
  }
  environment.hasUnappliedChange = false;
  observer?.switched();
  // nginx connects to an app in another way if each client has a worker.
  if (former?.run?.settings.affinity !== release.run?.settings.affinity)
    environment.appliance.domains.refresh();
  return switched;
}

/** Provides the Node.js of a release, and logs an installation also if nobody observes the switch. */
async function provideNode(
  { appliance, name: app }: Environment,
  wanted: ReleaseNode | undefined,
  signal: AbortSignal,
  log: (line: string) => void,
): Promise<{ node?: ReleaseNode }> {
  const logBoth = (line: string) => {
    appliance.log.info('Node.js', { app, line });
    log(line);
  };
  const node = await ensureNode(appliance, wanted, { log: logBoth, signal });
  return node === undefined ? {} : { node };
}

/** Starts a generation and waits until it is healthy. The traffic stays where it is, with fewer workers in a low-memory switch. */
async function bootGeneration(
  environment: Environment,
  release: ReleaseRecord,
  signal: AbortSignal,
  changes: SpecChanges,
  log: (line: string) => void,
): Promise<BootResult> {
  const { env, secrets } = await variablesOf(environment, changes);
  const masker = new Masker(secretsOf(secrets, release.run ?? {}));
  const onProgress = ({ line }: { line: string }) => log(masker.maskText(line));
  const boot = async (record: ReleaseRecord) => {
    const spec = await generationSpec(environment, record, { ...changes, env, secrets });
    return environment.appliance.runner.call('boot', { spec }, { signal, onProgress });
  };
  const explain = async (error: unknown) => {
    // Loaded here to save memory: most releases start.
    const { explainBoot } = await import('../build/failures/boot-error.ts');
    const directory = join(environment.paths.release(release.number).directory, release.run?.directory ?? '');
    const besideLive = release.run?.settings.overlap !== false && (await environment.isRunning());
    const explained = await explainBoot(maskError(error, masker), {
      app: environment.name,
      directory,
      besideLive,
    });
    return withPortlessHint(explained, release);
  };
  try {
    return await boot(release);
  } catch (error) {
    const { run, number } = release;
    const mayRunInExec = run !== null && run.exec === undefined && run.usesCluster !== true;
    const usesCluster = error instanceof AppError && error.code === 'boot_cluster';
    if (!usesCluster || !mayRunInExec) throw await explain(error);
    log(
      'the app starts processes with node:cluster: Sluice starts the app again in exec mode, as one worker',
    );
    // Later boots of this release begin in exec mode.
    const changed = await environment.store.update(number, { run: { ...run, usesCluster: true } });
    const booted = await boot(changed).catch(async (again: unknown) => {
      throw await explain(again);
    });
    return { ...booted, notices: [...booted.notices, clusterNotice] };
  }
}

const clusterNotice: Notice = {
  code: 'cluster_in_exec_mode',
  message: 'The app starts processes with node:cluster, so Sluice runs the app in exec mode, as one worker.',
  hint: 'Sluice can start several workers itself: start the file that listens, without node:cluster, and set "workers" in sluice.json.',
};

/** Writes a change before `finish` runs, and restores the files if `finish` fails. */
async function withChange<T>(
  environment: Environment,
  { files, keep }: TrialChange,
  finish: () => Promise<T>,
): Promise<T> {
  await using asides = new AsyncDisposableStack();
  const before: { file: string; restore: () => Promise<void> }[] = [];
  for (const file of files) {
    const aside = asides.use(await keepAside(file));
    before.push({ file, restore: () => aside.restore() });
  }
  try {
    await keep();
    return await finish();
  } catch (error) {
    for (const { file, restore } of before) {
      await restore().catch((cause: unknown) => {
        environment.hasUnappliedChange = true;
        const { log } = environment.appliance;
        log.error('change not taken back', { app: environment.name, file, error: cause });
      });
    }
    throw error;
  }
}

async function switchGeneration(
  environment: Environment,
  release: ReleaseRecord,
  { generation, protocol, node }: BootResult & { node?: ReleaseNode },
  { watch, restart }: { watch: boolean; restart: boolean },
): Promise<SwitchResult | null> {
  const { appliance, name, store } = environment;
  await environment.desire('running');
  // The disk may have refused the record of the former switch.
  await store.markActiveLive();
  // Most apps speak HTTP and keep their Node.js, and their switch writes no record.
  const isOther = protocol !== (release.protocol ?? 'http') || !isDeepStrictEqual(node, release.node);
  if (isOther) await store.update(release.number, { protocol, ...(node && { node }) });
  try {
    const options = { ...(watch && { watch }), ...(restart && { restart }) };
    return await appliance.runner.call('switch', { key: name, generation, ...options });
  } catch (error) {
    // The runner makes a switch by replacing the generation file, so the file decides if the answer was lost.
    const active = await store.active();
    if (active?.generation !== generation || active.release !== release.number) throw error;
    appliance.log.warn('switched without an answer', { app: name, error });
    return null;
  }
}

async function discardGeneration({ appliance, name }: Environment, generation: number): Promise<void> {
  try {
    await appliance.runner.call('discard', { key: name, generation });
  } catch (error) {
    // When a connection is lost, the runner itself ends the generations that its caller has booted.
    if (error instanceof AppError && error.code === 'runner_unavailable') return;
    appliance.log.error('generation not discarded', { app: name, error });
  }
}
