import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readlinkSync } from 'node:fs';
import { mkdir, readdir, readlink, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type EnvironmentPaths, Paths } from '../../src/config/paths.ts';
import { systemCode } from '../../src/errors/app-error.ts';
import { noCommit, type ReleaseRecord } from '../../src/releases/release.ts';
import { ReleaseStore } from '../../src/releases/store.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const source: ReleaseRecord['source'] = { kind: 'upload', by: 'local', ...noCommit };
const id = { app: 'shop', environment: 'production' };
const boom: ReleaseRecord['error'] = { code: 'build_failed', message: 'no', hint: '', step: 'build' };

async function newStore(t: TestContext): Promise<{ store: ReleaseStore; paths: EnvironmentPaths }> {
  const paths = new Paths(await temporaryDirectory(t)).environment(id);
  return { store: new ReleaseStore(id, paths), paths };
}

/** Changes the store as a deploy does before its switch. */
async function build(store: ReleaseStore, paths: EnvironmentPaths): Promise<number> {
  const { number } = await store.allocate(source);
  await writeFile(join(paths.staged(number).directory, 'server.js'), `// ${number}`);
  await store.startBuild(number);
  await store.publish(number);
  return number;
}

/** Changes files as the runner does at a switch. */
async function activate(paths: EnvironmentPaths, release: number): Promise<void> {
  await writeFile(paths.generation, JSON.stringify({ generation: release * 10, release }));
  await rm(paths.current, { force: true });
  await symlink(join('releases', String(release)), paths.current);
}

async function deploy(store: ReleaseStore, paths: EnvironmentPaths): Promise<number> {
  const number = await build(store, paths);
  await activate(paths, number);
  await store.markLive(number, new Date());
  return number;
}

async function deployMany(count: number, store: ReleaseStore, paths: EnvironmentPaths): Promise<void> {
  for (let turn = 0; turn < count; turn++) await deploy(store, paths);
}

async function trees(store: ReleaseStore): Promise<number[]> {
  const numbers: number[] = [];
  for (const { number } of await store.list()) if (await store.hasTree(number)) numbers.push(number);
  return numbers;
}

test('a release and its record move from staging to their final directory', async (t) => {
  const { store, paths } = await newStore(t);
  const { number } = await store.allocate(source);
  assert.equal(number, 1);
  assert.deepEqual(await readdir(paths.staged(1).directory), ['.sluice']);
  await writeFile(join(paths.staged(1).directory, 'server.js'), 'x');
  await store.update(1, { buildMs: 12 });
  await store.publish(1);
  assert.deepEqual(await readdir(paths.staging), []);
  assert.deepEqual((await readdir(paths.release(1).directory)).sort(), ['.sluice', 'server.js']);
  const record = await store.update(1, { sizeBytes: 34 });
  assert.deepEqual(await store.get(1), record);
  assert.deepEqual([record.buildMs, record.sizeBytes, record.liveAt], [12, 34, null]);
});

test('no number is assigned twice: not to simultaneous deploys, not after failures or a restart', async (t) => {
  const { store, paths } = await newStore(t);
  const other = new ReleaseStore(id, paths);
  const records = await Promise.all(
    Array.from({ length: 20 }, (_, turn) => (turn % 2 ? store : other).allocate(source)),
  );
  const numbers = records.map(({ number }) => number).sort((a, b) => a - b);
  assert.deepEqual(
    numbers,
    Array.from({ length: 20 }, (_, index) => index + 1),
  );
  for (const number of numbers) await store.fail(number, boom);
  assert.equal((await store.allocate(source)).number, 21);
  await new ReleaseStore(id, paths).reconcile();
  assert.equal((await new ReleaseStore(id, paths).allocate(source)).number, 22);
});

test('simultaneous changes of a record all take effect', async (t) => {
  const { store } = await newStore(t);
  await store.allocate(source);
  await Promise.all([
    store.update(1, { buildMs: 1 }),
    store.publish(1),
    store.update(1, { sizeBytes: 2 }),
    store.markLive(1, new Date(0)),
    store.update(1, { durationMs: 3 }),
  ]);
  const record = await store.get(1);
  assert.deepEqual(
    [record?.buildMs, record?.sizeBytes, record?.durationMs, record?.liveAt],
    [1, 2, 3, '1970-01-01T00:00:00.000Z'],
  );
});

test('a failed release keeps its record and its build log, but not its tree', async (t) => {
  const { store, paths } = await newStore(t);
  await store.allocate(source);
  await writeFile(join(paths.staged(1).directory, 'server.js'), 'x');
  await writeFile(paths.staged(1).buildLog, 'it broke');
  assert.equal(await build(store, paths), 2);
  for (const number of [1, 2]) {
    const record = await store.fail(number, boom);
    assert.deepEqual(record.error, boom);
    assert.deepEqual(await store.get(number), record);
    assert.deepEqual(await readdir(paths.release(number).directory), ['.sluice']);
  }
  assert.deepEqual(await readdir(paths.staging), []);
  assert.equal((await store.locate(1))?.buildLog, paths.release(1).buildLog);
  assert.deepEqual((await readdir(paths.release(1).records)).sort(), ['build.log', 'release.json']);
});

test('releases are built at one path, also if the release before is not cleaned up yet', async (t) => {
  const { store, paths } = await newStore(t);
  for (const number of [1, 2]) {
    await store.allocate(source);
    assert.deepEqual(await store.startBuild(number), paths.built);
    assert.deepEqual((await readdir(paths.staging)).sort(), number === 1 ? ['build'] : ['1', 'build']);
    assert.equal((await store.locate(number))?.directory, paths.built.directory);
    assert.equal((await store.update(number, { buildMs: number })).buildMs, number);
  }
  assert.equal((await store.allocate(source)).number, 3);
  assert.deepEqual(
    (await store.list()).map(({ number, buildMs }) => [number, buildMs]),
    [3, 2, 1].map((number) => [number, number === 3 ? null : number]),
  );
  for (const number of [2, 1]) assert.deepEqual((await store.fail(number, boom)).error, boom);
  assert.deepEqual(await readdir(paths.staging), ['3']);
  await rm(paths.staged(3).directory, { recursive: true });
  await assert.rejects(store.startBuild(3), { code: 'ENOENT' });
  await store.allocate(source);
  await store.startBuild(3);
  assert.deepEqual(await new ReleaseStore(id, paths).reconcile(), [3]);
  assert.deepEqual(await readdir(paths.staging), []);
  assert.equal((await store.get(3))?.error?.code, 'interrupted');
});

test('a failed release that cannot be cleaned up does not block other releases, and the next start cleans it up', async (t) => {
  const { paths } = await newStore(t);
  const refusals = ['ENOSPC', 'ENOSPC', 'EACCES'];
  const empty = async () => {
    const code = refusals.shift();
    if (code !== undefined) throw Object.assign(new Error(code), { code });
  };
  const left: [number, unknown][] = [];
  const store = new ReleaseStore(id, paths, empty, (...what) => left.push(what));
  const number = await build(store, paths);
  await assert.rejects(store.fail(number, boom), { code: 'ENOSPC' });
  await store.allocate(source);
  assert.equal(left.length, 0);
  await store.allocate(source);
  assert.deepEqual(
    left.map(([release, error]) => [release, systemCode(error)]),
    [[number, 'EACCES']],
  );
  await store.allocate(source);
  assert.equal(left.length, 1);
  await new ReleaseStore(id, paths).reconcile();
  assert.deepEqual(await readdir(paths.staging), []);
  assert.deepEqual(await readdir(paths.release(number).directory), ['.sluice']);
  assert.deepEqual((await store.get(number))?.error, boom);
});

test('a release that was live cannot fail', async (t) => {
  const { store, paths } = await newStore(t);
  await deployMany(2, store, paths);
  await assert.rejects(store.fail(1, boom), /was live and cannot fail/);
  assert.deepEqual(await trees(store), [2, 1]);
});

test('a damaged record does not block other releases, and its number is not assigned again', async (t) => {
  const { store, paths } = await newStore(t);
  await deployMany(2, store, paths);
  await writeFile(paths.release(1).record, '{ oops');
  const { number } = await store.allocate(source);
  await writeFile(join(paths.staged(number).directory, 'server.js'), 'x');
  await writeFile(paths.staged(number).record, 'null');
  assert.deepEqual(
    (await store.list()).map((record) => record.number),
    [2],
  );
  await assert.rejects(store.fail(number, boom), { code: 'release_not_found' });
  assert.deepEqual(await readdir(paths.staging), []);
  assert.equal((await store.allocate(source)).number, 4);
});

test('the error of an unknown release names its number', async (t) => {
  const { store } = await newStore(t);
  assert.equal(await store.get(3), undefined);
  for (const call of [
    () => store.update(3, {}),
    () => store.fail(3, boom),
    () => store.markLive(3, new Date()),
  ]) {
    await assert.rejects(call, { code: 'release_not_found', message: 'release 3 of shop not found' });
  }
});

test('retention keeps the newest live, the active, the previous and the draining releases', async (t) => {
  const { store, paths } = await newStore(t);
  await deployMany(8, store, paths);
  await build(store, paths);
  await store.fail(9, boom);
  await activate(paths, 4);
  assert.deepEqual(await retain(store, 2, [1]), [6, 5, 2]);
  assert.deepEqual(await trees(store), [8, 7, 4, 3, 1]);
  assert.deepEqual(
    (await store.list()).map(({ number }) => number),
    [9, 8, 7, 6, 5, 4, 3, 2, 1],
  );
  assert.deepEqual(
    (await store.retained()).map(({ number }) => number),
    [8, 7, 3, 1],
  );
  assert.deepEqual(await retain(store, 2), [1]);
});

test('the newest 200 records without a tree are kept', async (t) => {
  const { store, paths } = await newStore(t);
  await deploy(store, paths);
  for (let turn = 0; turn < 204; turn++) {
    await store.allocate(source);
    await store.fail(turn + 2, boom);
  }
  await retain(store, 2);
  const numbers = (await store.list()).map(({ number }) => number);
  assert.deepEqual([numbers.length, numbers[0], numbers.at(-2), numbers.at(-1)], [201, 205, 6, 1]);
  assert.equal((await store.allocate(source)).number, 206);
});

test('after a crash, unfinished releases fail as interrupted, and the live release stays', async (t) => {
  const { store, paths } = await newStore(t);
  await deployMany(2, store, paths);
  await build(store, paths);
  await store.allocate(source);
  await writeFile(join(paths.staged(4).directory, 'server.js'), 'x');
  await mkdir(paths.staged(5).directory);
  await mkdir(join(paths.staging, '.incoming-x'));
  assert.deepEqual(await new ReleaseStore(id, paths).reconcile(), [4, 3]);
  assert.deepEqual(await readdir(paths.staging), []);
  assert.deepEqual(await trees(store), [2, 1]);
  for (const number of [3, 4]) assert.equal((await store.get(number))?.error?.code, 'interrupted');
  assert.deepEqual(await new ReleaseStore(id, paths).reconcile(), []);
});

test('after a crash right after the switch, the new release is live since the switch', async (t) => {
  const { store, paths } = await newStore(t);
  await deploy(store, paths);
  await build(store, paths);
  await writeFile(paths.generation, JSON.stringify({ generation: 2, release: 2 }));
  const switchedAt = new Date('2026-01-02T03:04:05.000Z');
  await utimes(paths.generation, switchedAt, switchedAt);
  assert.deepEqual(await store.reconcile(), []);
  assert.equal((await store.get(2))?.liveAt, switchedAt.toISOString());
  assert.equal(await readlink(paths.current), 'releases/2');
  assert.deepEqual(await trees(store), [2, 1]);
});

test('temporary files of killed processes are removed, those of running processes are not', async (t) => {
  const { store, paths } = await newStore(t);
  await deploy(store, paths);
  const dead = spawnSync('/bin/true').pid;
  for (const directory of [paths.directory, paths.release(1).records]) {
    await writeFile(join(directory, `.tmp-${dead}-0123456789ab`), '{"GENER');
    await writeFile(join(directory, `.tmp-${process.ppid}-0123456789ab`), 'of another process');
  }
  await store.reconcile();
  for (const directory of [paths.directory, paths.release(1).records]) {
    const left = (await readdir(directory)).filter((name) => name.startsWith('.tmp-'));
    assert.deepEqual(left, [`.tmp-${process.ppid}-0123456789ab`]);
  }
});

test('reconcile does nothing for a new environment', async (t) => {
  const { store, paths } = await newStore(t);
  assert.deepEqual(await store.reconcile(), []);
  assert.deepEqual(await store.list(), []);
  assert.equal(await store.active(), null);
  await mkdir(paths.directory, { recursive: true });
  await symlink('releases/9', paths.current);
  await store.reconcile();
  assert.deepEqual(await readdir(paths.directory), []);
});

test('a release with the number of a removed release has its own tree', async (t) => {
  const { store, paths } = await newStore(t);
  await store.fail(await build(store, paths), boom);
  assert.equal(await store.hasTree(1), false);
  assert.equal(await store.hasTree(1), false);
  await rm(paths.directory, { recursive: true });
  assert.equal(await build(store, paths), 1);
  assert.equal(await store.hasTree(1), true);
});

test('retention opens few directories at a time', {
  skip: process.platform !== 'linux',
}, async (t) => {
  const { store, paths } = await newStore(t);
  await deployMany(60, store, paths);
  let most = 0;
  let looks = 0;
  const look = () => {
    const open = readdirSync('/proc/self/fd').filter((fd) => targetOf(fd)?.startsWith(`${paths.releases}/`));
    most = Math.max(most, open.filter((fd) => !targetOf(fd)?.endsWith('.json')).length);
    looks += 1;
    next = setImmediate(look);
  };
  let next = setImmediate(look);
  await retain(store, 5);
  clearImmediate(next);
  assert.ok(looks > 0);
  assert.ok(most <= 2, `${most} directories were open at a time`);
});

/** Returns the target of a descriptor of this process; undefined if it is closed. */
function targetOf(fd: string): string | undefined {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

test('outlines follow each change of a record and of a tree, and unchanged releases are not read again', async (t) => {
  const { store, paths } = await newStore(t);
  const fresh = () => new ReleaseStore(id, paths).outlines();
  await deployMany(3, store, paths);
  const before = await store.outlines();
  assert.deepEqual(before, await fresh());
  assert.deepEqual(
    before.map(({ number, hasTree, liveAt }) => [number, hasTree, liveAt !== null]),
    [
      [3, true, true],
      [2, true, true],
      [1, true, true],
    ],
  );
  assert.equal((await store.outlines())[1], before[1]);
  await store.update(2, { error: boom, sizeBytes: 7 });
  await rm(join(paths.release(1).directory, 'server.js'));
  const { number } = await store.allocate(source);
  await store.update(number, { error: boom });
  const after = await store.outlines();
  assert.deepEqual(after, await fresh());
  assert.deepEqual(
    after.map(({ error, hasTree }) => [error?.code, hasTree]),
    [
      ['build_failed', false],
      [undefined, true],
      ['build_failed', true],
      [undefined, false],
    ],
  );
  await rm(paths.release(2).directory, { recursive: true });
  assert.deepEqual(await store.outlines(), await fresh());
});

test('outlines of a release that can never run again are not checked, and follow changes by the store', async (t) => {
  const { store, paths } = await newStore(t);
  await deployMany(3, store, paths);
  await retain(store, 1);
  const over = async () => (await store.outlines()).find(({ number }) => number === 1);
  const first = await over();
  assert.deepEqual([first?.hasTree, first?.hasPlan], [false, false]);
  assert.equal(await over(), first);
  const reverted = { at: '2026-01-01T00:00:00.000Z', reason: 'it died' };
  await store.update(1, { reverted });
  const changed = await over();
  assert.deepEqual(changed?.reverted, reverted);
  assert.equal(await over(), changed);
  // Only another program removes the file, and only the next start of the server notices that.
  await rm(paths.release(1).record);
  assert.equal(await over(), changed);
  assert.equal((await new ReleaseStore(id, paths).outlines()).length, 2);
});

/** Removes old releases, and waits for their files. @returns the numbers of the releases */
async function retain(store: ReleaseStore, keep: number, inUse: number[] = []): Promise<number[]> {
  const { expired, emptied } = await store.retain(keep, new Set(inUse));
  await emptied;
  return expired;
}
