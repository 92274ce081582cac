import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import type { GenerationSpec } from '../../src/protocol/runner.ts';
import { WorkerPool } from '../../src/runner/generation/pool.ts';
import type { WorkerHandle } from '../../src/runner/generation/worker-handle.ts';
import { NotStarted, type StartWorker } from '../../src/runner/generation/worker-starter.ts';
import type { Handoff } from '../../src/runner/handoff.ts';
import { sharedMasker } from '../../src/system/text/mask/masker.ts';
import {
  FakeClock,
  type FakeWorkerOptions,
  FakeWorkers,
  idleListener,
  settled,
} from '../support/fake-worker.ts';

const megabyte = 1024 ** 2;

/** Returns an active pool of fake workers. */
async function startPool(settings: Partial<GenerationSpec> = {}, behavior: FakeWorkerOptions = {}) {
  const clock = new FakeClock();
  const fakes = new FakeWorkers(clock);
  fakes.behavior = () => behavior;
  const stopping = new AbortController();
  const logged: string[] = [];
  const spec = {
    release: 1,
    workers: 2,
    restarts: {
      maxRestarts: 3,
      minUptime: 1000,
      delay: 100,
      stopExitCodes: [7],
      autorestart: true,
      backoff: true,
    },
    overlap: true,
    maxMemory: null,
    stuckTimeout: 1000,
    drainTimeout: 1000,
    killTimeout: 1000,
    maxDraining: 2,
    ...settings,
  } as GenerationSpec;
  const log = (line: string) => logged.push(line.replace(/^worker (\d+) \(pid \d+\)/, '$1'));
  const state = { isActive: false, startError: undefined as Error | undefined };
  const start: StartWorker = async (instance, _report, signal, started) => {
    signal.throwIfAborted();
    if (state.startError) throw state.startError;
    const listener = {
      joined: () => pool.evenOut(),
      memoryExceeded: (worker: WorkerHandle) => pool.checkWorker(worker, clock.now()),
      responded: () => undefined,
      exited: (worker: WorkerHandle, exit: Parameters<WorkerPool['exited']>[1]) => pool.exited(worker, exit),
    };
    const worker = fakes.spawn({ spec, instance, handoff: {} as Handoff, listener, log });
    started?.(worker);
    const outcome = await Promise.race([worker.ready, worker.exited]);
    if ('code' in outcome) throw new Error('the app died');
    return worker;
  };
  const pool: WorkerPool = new WorkerPool({
    spec,
    start,
    stopping: stopping.signal,
    isActive: () => state.isActive,
    log,
    clock,
  });
  await pool.startWorkers(spec.workers, () => undefined, stopping.signal);
  state.isActive = true;
  await pool.open();
  fakes.take();
  return { pool, fakes, clock, state, stopping, logged };
}

test('the first worker starts alone, and the others once it is healthy', async () => {
  const fakes = new FakeWorkers();
  const begun: number[] = [];
  const first = Promise.withResolvers<void>();
  const start: StartWorker = async (instance, _report, _signal, started) => {
    begun.push(instance);
    if (instance === 0) await first.promise;
    const worker = fakes.spawn({
      ...{ spec: { release: 1 }, instance, handoff: {} as Handoff },
      listener: idleListener,
      log: () => undefined,
    });
    started?.(worker);
    return worker;
  };
  const signal = new AbortController().signal;
  const pool = new WorkerPool({
    spec: { workers: 3, restarts: {} } as GenerationSpec,
    start,
    stopping: signal,
    isActive: () => false,
    log: () => undefined,
    clock: fakes.clock,
  });
  const started = pool.startWorkers(3, () => undefined, signal);
  await settled();
  assert.deepEqual(begun, [0]);
  first.resolve();
  await started;
  assert.deepEqual(begun, [0, 1, 2]);
  assert.ok(pool.isComplete);
});

test('a worker that dies is restarted at once in its slot, and after a delay if it dies again', async () => {
  const { pool, fakes, clock, logged } = await startPool();
  await clock.advance(2000);
  fakes.last(1).exit({ code: null, signal: 'SIGKILL' });
  await settled();
  assert.deepEqual(fakes.take(), ['1.1 open']);
  assert.equal(pool.restartsOf(fakes.last(1).handle), 1);
  assert.match(logged[0] ?? '', /^1 was ended by SIGKILL after 2\.0 s; it is started again at once$/);
  fakes.last(1).exit({ code: 1, signal: null });
  await settled();
  await clock.advance(99);
  assert.deepEqual(fakes.take(), []);
  await clock.advance(1);
  assert.deepEqual(fakes.take(), ['1.1 open']);
  assert.equal(fakes.all.filter(({ instance }) => instance === 0).length, 1);
});

test('workers even out their connections once another worker has opened outside of a switch', async () => {
  const { pool, fakes, clock } = await startPool({ workers: 3 });
  assert.deepEqual(fakes.evenedOut, []);
  await clock.advance(2000);
  fakes.last(1).exit({ code: null, signal: 'SIGKILL' });
  await settled();
  assert.deepEqual(fakes.evenedOut.splice(0), ['1.0', '1.1', '1.2']);
  await pool.replaceAll('asked for it');
  await settled();
  // Each time all but the one that is replaced.
  assert.equal(fakes.evenedOut.length, 9);
});

test('the log distinguishes a death before the app listens from a later one', async () => {
  const { fakes, clock, logged } = await startPool({ workers: 1 });
  await clock.advance(500);
  fakes.behavior = () => ({ dies: true });
  fakes.last(0).exit({ code: 1, signal: null });
  await settled();
  assert.deepEqual(logged.slice(0, 2), [
    '0 ended with exit status 1 after 500 ms; it is started again at once',
    '0 ended with exit status 1 before it listened; it is started again in 100 ms',
  ]);
});

test('a pool is `crashed` after maxRestarts early deaths, and `running` once a worker has lived for minUptime', async () => {
  const { pool, fakes, clock, logged } = await startPool({ workers: 1 });
  fakes.behavior = () => ({ dies: true });
  fakes.last(0).exit({ code: 1, signal: null });
  await settled();
  assert.equal(pool.liveness, 'starting');
  await clock.advance(100);
  assert.equal(pool.liveness, 'crashed');
  assert.ok(logged.some((line) => line.endsWith('; crashed: it is started again in 15 s')));
  assert.deepEqual(pool.crash?.output, ['last words']);
  fakes.behavior = () => ({});
  await clock.advance(15_000);
  assert.equal(pool.liveness, 'crashed');
  await clock.advance(1000);
  assert.equal(pool.liveness, 'running');
});

test('a worker with one of stopExitCodes is not restarted, and the pool is `stopped` once all have ended so', async () => {
  const { pool, fakes, clock, logged } = await startPool();
  fakes.last(0).exit({ code: 7, signal: null });
  await clock.advance(60_000);
  assert.equal(pool.liveness, 'running');
  assert.match(logged[0] ?? '', /it is not started again \("stopExitCodes"\)$/);
  fakes.last(1).exit({ code: 7, signal: null });
  await clock.advance(60_000);
  assert.equal(pool.liveness, 'stopped');
  assert.equal(fakes.all.length, 2);
});

test('a worker that cannot be started at all is tried again after growing delays', async () => {
  const { fakes, clock, state, logged } = await startPool({ workers: 1 });
  state.startError = new NotStarted(0, new Error('no such directory'), sharedMasker([]));
  fakes.last(0).exit({ code: null, signal: 'SIGKILL' });
  await settled();
  const attempts = () => logged.filter((line) => line.includes('could not be started')).length;
  assert.equal(attempts(), 1);
  await clock.advance(100);
  assert.equal(attempts(), 2);
  await clock.advance(100);
  assert.equal(attempts(), 2);
});

test('a waiting restart ends when the generation is no longer active', async () => {
  const { fakes, clock, state, stopping } = await startPool({ workers: 1 });
  fakes.last(0).exit({ code: 1, signal: null });
  await settled();
  fakes.last(0).exit({ code: 1, signal: null });
  await settled();
  const started = fakes.all.length;
  state.isActive = false;
  stopping.abort();
  await clock.advance(60_000);
  assert.equal(fakes.all.length, started);
});

test('a stuck worker is replaced by one that is open before, and killed', async () => {
  const { pool, fakes, clock, logged } = await startPool();
  const stuck = fakes.last(1);
  stuck.isStuck = true;
  stuck.handle.silentFor = 1001;
  pool.tick(clock.now());
  await settled();
  assert.deepEqual(fakes.take(), ['1.1 open', '1.1 retire', '1.1 handOff']);
  assert.match(
    logged[0] ?? '',
    /^1 has not turned its event loop for 1\.0 s \("stuckTimeout"\), and is replaced$/,
  );
  await stuck.handle.exited;
  assert.deepEqual(fakes.take(), ['1.1 SIGKILL']);
  assert.equal(fakes.all.length, 3);
});

test('a stuck exec worker drains if one of its processes has retired', async () => {
  const { pool, fakes } = await startPool({ workers: 1 });
  const [stuck] = fakes.all;
  assert.ok(stuck);
  stuck.isStuck = true;
  Object.assign(stuck.handle, { members: { hasRetired: true } });
  const draining = Promise.withResolvers<void>();
  stuck.handle.drain = async () => draining.resolve();
  await pool.replaceAll('is restarted');
  await draining.promise;
  assert.ok(stuck.handle.alive);
});

test('a worker whose event loop stands still before it opens is replaced', async () => {
  const { pool, fakes, clock } = await startPool({ workers: 1 });
  fakes.behavior = () => ({ isStuck: true });
  fakes.last(0).exit({ code: null, signal: 'SIGKILL' });
  await settled();
  const stuck = fakes.last(0);
  assert.equal(stuck.handle.state, 'opening');
  fakes.behavior = () => ({});
  stuck.handle.silentFor = 1001;
  pool.tick(clock.now());
  await settled();
  assert.notEqual(fakes.last(0), stuck);
  assert.equal(fakes.last(0).handle.state, 'open');
  assert.equal(pool.liveness, 'running');
});

test('a worker above maxMemory is replaced by one that is open before, and finishes its requests', async () => {
  const { pool, fakes, clock } = await startPool(
    { workers: 1, maxMemory: 100 * megabyte },
    { requests: ['GET /slow'] },
  );
  const old = fakes.last(0);
  old.send({ type: 'memoryExceeded', bytes: 150 * megabyte });
  await settled();
  assert.deepEqual(fakes.take(), ['1.0 open', '1.0 retire', '1.0 handOff']);
  // It has no slot any more, so it is not replaced again.
  pool.tick(clock.now());
  await settled();
  assert.equal(fakes.all.length, 2);
  old.finish();
  await old.handle.gone;
  assert.deepEqual(fakes.take(), ['1.0 SIGTERM']);
});

test('"drainTimeout" of a worker that has retired by itself begins when another worker replaces it', async () => {
  const { pool, fakes, clock } = await startPool(
    { workers: 1, maxMemory: 100 * megabyte, drainTimeout: 60_000 },
    { requests: ['GET /slow'] },
  );
  const old = fakes.last(0);
  fakes.behavior = () => ({ boots: true });
  old.send({ type: 'retired' });
  await settled();
  const next = fakes.last(0);
  assert.notEqual(next, old);
  await clock.advance(70_000);
  next.send({ type: 'ready', port: 1, protocol: 'tcp', listens: 9001, onlyInterrupt: false });
  await settled();
  pool.tick(clock.now());
  await settled();
  // If no time was left, that timer would end before this one.
  await setTimeout(1);
  await settled();
  assert.deepEqual(fakes.take(), ['1.0 retire', '1.0 open', '1.0 handOff']);
  old.finish();
  await old.handle.gone;
  assert.deepEqual(fakes.take(), ['1.0 SIGTERM']);
});

test('a worker that takes four times maxMemory is killed at once', async () => {
  const { pool, fakes, clock } = await startPool({ workers: 1, maxMemory: 100 * megabyte });
  const [worker] = fakes.all;
  if (worker) worker.handle.figures.memoryBytes = 401 * megabyte;
  pool.tick(clock.now());
  assert.deepEqual(fakes.take(), ['1.0 SIGKILL']);
});

test('a limit below the needs of the app is logged, and the worker is not replaced again for a minute', async () => {
  const { pool, fakes, clock, logged } = await startPool({ workers: 1, maxMemory: 100 * megabyte });
  const [first] = fakes.all;
  fakes.behavior = () => ({});
  const exceeds = () => {
    const { figures } = fakes.last(0).handle;
    figures.read = () => undefined;
    figures.memoryBytes = 150 * megabyte;
  };
  exceeds();
  const { spawn } = fakes;
  fakes.spawn = (options) => {
    const worker = spawn.call(fakes, options);
    exceeds();
    return worker;
  };
  pool.tick(clock.now());
  await settled();
  await first?.handle.gone;
  assert.ok(logged.some((line) => line.endsWith('the limit is below the needs of the app')));
  for (let seconds = 0; seconds < 59; seconds += 1) {
    await clock.advance(1000);
    pool.tick(clock.now());
  }
  await settled();
  assert.equal(fakes.all.length, 2);
  await clock.advance(1000);
  pool.tick(clock.now());
  await settled();
  assert.equal(fakes.all.length, 3);
});

test('a worker that has retired by itself opens again if no other worker starts, and is tried again after a second', async () => {
  const { pool, fakes, clock, state } = await startPool({ workers: 1, maxMemory: 100 * megabyte });
  state.startError = new Error('the app fails');
  const only = fakes.last(0);
  only.send({ type: 'retired' });
  await settled();
  assert.deepEqual(fakes.take(), ['1.0 retire', '1.0 open']);
  assert.equal(only.handle.state, 'open');
  state.startError = undefined;
  only.send({ type: 'retired' });
  await clock.advance(999);
  pool.tick(clock.now());
  await settled();
  assert.equal(fakes.all.length, 1);
  await clock.advance(1);
  pool.tick(clock.now());
  await settled();
  assert.equal(fakes.all.length, 2);
});

test('a worker that dies while it opens is replaced once', async () => {
  const { pool, fakes, clock } = await startPool({ workers: 1 });
  fakes.behavior = () => ({ isStuck: true });
  await clock.advance(60_000);
  fakes.last(0).exit({ code: 1, signal: null });
  await settled();
  const opening = fakes.last(0);
  assert.equal(opening.handle.state, 'opening');
  fakes.behavior = () => ({});
  opening.exit({ code: 1, signal: null });
  await settled();
  await clock.advance(1000);
  assert.equal(fakes.all.length, 3);
  assert.equal(pool.liveness, 'running');
});

test('a low-memory switch retires some workers, always without the last one, and their slots fill afterwards', async () => {
  const { pool, fakes } = await startPool({ workers: 3 });
  await pool.retireSome(5);
  const order = fakes.take().filter((line) => !line.endsWith('handOff'));
  assert.deepEqual(order, ['1.0 retire', '1.0 SIGTERM', '1.1 retire', '1.1 SIGTERM']);
  assert.ok(pool.isComplete);
  await settled();
  assert.equal(fakes.all.length, 3);
  pool.fillReserved();
  await settled();
  assert.deepEqual(
    fakes.take().filter((line) => line.endsWith('open')),
    ['1.0 open', '1.1 open'],
  );
});

test('all workers are replaced one after the other', async () => {
  const { pool, fakes } = await startPool();
  await pool.replaceAll('is restarted');
  await settled();
  const order = fakes.take().filter((line) => line.endsWith('open') || line.endsWith('retire'));
  assert.deepEqual(order, ['1.0 open', '1.0 retire', '1.1 open', '1.1 retire']);
});

test('a drain names the requests that it cuts after drainTimeout', async () => {
  const { fakes, logged, stopping } = await startPool(
    { workers: 1, drainTimeout: 50 },
    { requests: ['GET /hang', 'POST /upload'] },
  );
  const { handle } = fakes.last(0);
  await handle.retire(false);
  await handle.drain(50, stopping.signal);
  assert.match(logged[0] ?? '', /^0 cuts GET \/hang: not answered \d+ ms after .* \("drainTimeout"\)$/);
  assert.match(logged[1] ?? '', /^0 cuts POST \/upload: not answered/);
  assert.deepEqual(fakes.take(), ['1.0 retire', '1.0 reportInFlight', '1.0 SIGTERM']);
});

test('a worker that has drained ends after a while, and at once in a hurry', async () => {
  const { fakes, clock, stopping } = await startPool({ workers: 2 });
  const hurry = new AbortController();
  const ended = () => fakes.take().filter((line) => line.endsWith('SIGTERM'));
  for (const [slot, signal] of [stopping.signal, hurry.signal].entries()) {
    const { handle } = fakes.last(slot);
    await handle.retire(false);
    void handle.drain(1000, signal, 300);
  }
  await clock.advance(299);
  assert.deepEqual(ended(), []);
  hurry.abort();
  await settled();
  assert.deepEqual(ended(), ['1.1 SIGTERM']);
  await clock.advance(1);
  assert.deepEqual(ended(), ['1.0 SIGTERM']);
});

test('a replaced worker that drains already is not drained again with its generation', async () => {
  const { fakes, logged, stopping } = await startPool(
    { workers: 1, maxMemory: 100 * megabyte, drainTimeout: 60_000 },
    { requests: ['GET /hang'] },
  );
  const old = fakes.last(0);
  old.send({ type: 'memoryExceeded', bytes: 150 * megabyte });
  await settled();
  const drained = old.handle.drain(60_000, stopping.signal);
  stopping.abort();
  await drained;
  await settled();
  assert.equal(logged.filter((line) => line.startsWith('0 cuts GET /hang: ')).length, 1);
});

test('of more than maxDraining replaced workers, each excess one is ended once, even if its children stay', async () => {
  const { pool, logged } = await startPool(
    { workers: 1, maxDraining: 1, drainTimeout: 60_000 },
    { requests: ['GET /hang'], leftoversGone: new Promise(() => undefined) },
  );
  for (let replacements = 0; replacements < 3; replacements += 1) {
    await pool.replaceAll('is restarted');
    await settled();
  }
  const ended = logged.filter((line) => line.includes('because too many replaced workers are draining'));
  assert.equal(ended.length, 2);
});

test('without overlap, a worker above maxMemory ends before another one starts in its slot', async () => {
  const { pool, fakes, clock } = await startPool(
    { workers: 1, overlap: false, maxMemory: 100 * megabyte },
    { requests: ['GET /slow'] },
  );
  const [old] = fakes.all;
  assert.ok(old);
  old.handle.figures.memoryBytes = 200 * megabyte;
  pool.tick(clock.now());
  await settled();
  assert.deepEqual(fakes.take(), ['1.0 retire', '1.0 handOff']);
  assert.equal(fakes.all.length, 1);
  old.finish();
  await settled();
  assert.deepEqual(fakes.take(), ['1.0 SIGTERM', '1.0 open']);
  assert.equal(fakes.all.length, 2);
  assert.equal(pool.restartsOf(fakes.last(0).handle), 1);
});

test('a pool that is vacated does not wait for a worker that was to replace another one', async () => {
  const { pool, fakes } = await startPool({ workers: 1 });
  fakes.behavior = () => ({ boots: true });
  const replaced = pool.replaceAll('is restarted');
  await settled();
  assert.equal(fakes.all.length, 2);
  await pool.vacate();
  await replaced;
  assert.ok(fakes.take().includes('1.0 SIGKILL'));
  assert.ok(fakes.all.every(({ handle }) => !handle.alive));
});

test('a pool that is vacated ends all workers and starts none before fillReserved', async () => {
  const { pool, fakes, clock } = await startPool({ overlap: false });
  fakes.last(1).exit({ code: 1, signal: null });
  await settled();
  fakes.last(1).exit({ code: 1, signal: null });
  await settled();
  fakes.take();
  await pool.vacate();
  // The worker may end before it reads `handOff`.
  assert.deepEqual(
    fakes.take().filter((each) => each !== '1.0 handOff'),
    ['1.0 retire', '1.0 SIGTERM'],
  );
  assert.equal(pool.liveness, 'starting');
  const started = fakes.all.length;
  await clock.advance(1000);
  assert.equal(fakes.all.length, started);
  pool.fillReserved();
  await clock.advance(1000);
  assert.equal(fakes.all.length, started + 2);
});
