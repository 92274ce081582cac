import { AppError } from '../errors/app-error.ts';
import type { ActiveRelease, Reverted, SwitchResult } from '../protocol/runner.ts';
import { prepareCommit } from './commit.ts';
import type { Generation } from './generation/generation.ts';
import type { Handoff } from './handoff.ts';
import type { Orphans } from './takeover/orphans.ts';

/**
 * Moves the traffic of an environment to a started generation. After a client has an answer of the new generation, no older
 * generation answers a request that the client sends later; docs/internals/switch.md has the exceptions.
 *
 * Runs one at a time for each environment. If the runner dies, each worker finds out from the committed file whether its own
 * generation is active: see docs/internals/takeover.md.
 * @param next undefined if the generation has been discarded
 * @throws AppError `switch_failed`; the old generation then has the traffic as before
 */
export async function switchTraffic(
  environment: SwitchedEnvironment,
  next: Generation | undefined,
): Promise<SwitchResult> {
  const { key, active: old, orphans } = environment;

  // Prepare. The files of the commit are written now, so that the pause below contains no wait for the disk.
  if (!next?.pool.isComplete) throw workerDied();
  if (old === undefined) await orphans.gather(key);
  const { release } = next.spec;
  const active: ActiveRelease = {
    ...{ generation: next.id, release, handoff: environment.handoff()?.id ?? '' },
    ...(environment.reverted && { reverted: environment.reverted }),
  };
  const commit = await prepareCommit(next.spec, active, environment.safePath);
  const emit = (step: SwitchStep, error?: unknown) => environment.emit({ step, next, error });

  // Retire. From now on no worker accepts, and new connections wait in the kernel. Old workers read on from requests that have
  // begun, such as a half-sent POST, and answer them.
  const start = old?.pool.vacantSince ?? performance.now();
  emit('retire');
  await old?.retire();

  // Commit. The rename of one file is the point of no return. If it fails, the old workers open again.
  emit('commit');
  let linkError: unknown;
  try {
    linkError = commit.apply();
  } catch (error) {
    await old?.open();
    commit.discard();
    throw error;
  }

  // Open. Orphans have a socket of their own. If they closed it first, clients would be refused; if the new workers
  // answered first, an old answer could follow a new one. So the new workers accept, but read nothing until the orphans retire.
  emit('open');
  environment.activate(next);
  const wait = orphans.serving(key);
  await next.open({ wait });
  const hasWorkers = next.spec.workers > 0;
  // A worker whose event loop does not run accepts later. Without an older worker, the socket does not listen yet.
  if (hasWorkers && !next.pool.isOpen) await environment.letClientsWait();
  const pauseMs = performance.now() - start;

  // Hand off. Retired workers and orphans pass their idle connections to the new workers, or close them if there are none.
  if (hasWorkers) old?.handOff();
  else await old?.retire({ last: true });
  if (wait) emit('wait');
  await orphans.retire(key, hasWorkers ? environment.handoff() : undefined);
  if (wait) next.pool.serve();
  emit('opened');

  // Drain. Old workers finish their requests, for up to `drainTimeout`, and end. After that, a low-memory switch starts the
  // workers that it has left out.
  const drained = old && environment.drain(old, next.spec.maxDraining);
  void Promise.resolve(drained).then(() => next.pool.fillReserved());

  emit('live');
  if (linkError !== undefined) emit('unlinked', linkError);
  await commit.sync().catch((error: unknown) => emit('unsynced', error));
  return { generation: next.id, pauseMs };
}

/** Parts of an environment that a switch uses. The app supervisor has them. */
export interface SwitchedEnvironment {
  /** generation that has the traffic; undefined before the first switch of this runner, and after a stop */
  active: Generation | undefined;
  key: string;
  /** set if the active generation is worse than `next`, which was active before */
  reverted?: Reverted | undefined;
  /** workers of earlier runners */
  orphans: Pick<Orphans, 'gather' | 'serving' | 'retire'>;
  /** returns the handoff of the environment's workers */
  handoff(): Handoff | undefined;
  /** returns the path by which a file in the environment's directory is safe to use */
  safePath(path: string): string;
  /** lets clients wait until a worker accepts; without this, their connections are refused; never throws */
  letClientsWait(): Promise<void>;
  /** makes a generation the active one, in memory */
  activate(generation: Generation): void;
  /** drains a retired generation; cuts older drains short if more than `maxDraining` generations drain */
  drain(generation: Generation, maxDraining: number): Promise<void>;
  /** passes an event to all subscribers; never throws */
  emit(event: SwitchEvent): void;
}

/**
 * Event of a switch. `retire`, `commit` and `open` come before their step, `wait` between opening and the retirement of
 * orphans, `opened` after both, and `live` when the new workers are open and the old workers have retired. The link `current`
 * was not replaced after `unlinked`, and the disk did not confirm the commit after `unsynced`; the switch is made all the same.
 */
export interface SwitchEvent {
  step: SwitchStep;
  next: Generation;
  /** reason of `unlinked` or `unsynced` */
  error: unknown;
}

type SwitchStep = 'retire' | 'commit' | 'open' | 'wait' | 'opened' | 'live' | 'unlinked' | 'unsynced';

function workerDied(): AppError {
  return new AppError('switch_failed', 'a worker of the new release died before the switch', {
    hint: 'The release before is still live. Read the output of the new one with "sluice logs", and deploy again.',
  });
}
