import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { readFile, readlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { AppError } from '../../src/errors/app-error.ts';
import type { ProcessRecord } from '../../src/runner/takeover/process-records.ts';
import { processStartTime } from '../../src/system/process/processes.ts';
import { running } from '../support/apps.ts';
import { FailingDisk, type Fault } from '../support/failing-disk.ts';
import type { Files } from '../support/pack.ts';
import { workersOfHome } from '../support/processes.ts';
import { type Sluice, startSluice } from '../support/server.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { thorough } from '../support/tiers.ts';
import { pathsBelow } from '../support/tree.ts';
import { Visitor } from '../support/visitor.ts';
import { waitFor } from '../support/wait.ts';
import { wholeFile } from '../support/whole-file.ts';

/** SLUICE_TEST_WRITES=all fails every write; else SLUICE_TEST_SEED picks a sample. SLUICE_TEST_SCENARIO is a pattern of names. */
const isExhaustive = process.env['SLUICE_TEST_WRITES'] === 'all';
const chosen = new RegExp(process.env['SLUICE_TEST_SCENARIO'] ?? '');
const seed = Number(process.env['SLUICE_TEST_SEED'] ?? 1);
/** number of faults of each scenario in a sample */
const sampleSize = 1;
/** Time that a scenario runs while the disk refuses, before there is space again, in ms. */
const patience = 2000;

/** State as a user sees it: whatever the disk refuses, this is the state before or after the change. */
interface Seen {
  /** apps with a live release */
  apps: string[];
  answer: string | null;
  variables: Record<string, string>;
  workers: number | null;
  tokens: string[];
  keys: string[];
}

/** A scenario: a user's action, or an event, while the disk refuses writes. */
interface Scenario {
  name: string;
  process: Fault['process'];
  /** @param mark of this run */
  act(sluice: Sluice, mark: string): Promise<unknown>;
  /** the expected state afterwards; left out if nothing changes */
  after?(before: Seen, mark: string): Seen;
  /** undoes the change while the disk works */
  undo?(sluice: Sluice, mark: string): Promise<unknown>;
  /** true if server or runner are other processes afterwards */
  restarts?: true;
  /** true if the app may stop answering meanwhile */
  interrupts?: true;
}

/** App that answers with its release and its variable VALUE. */
function marked(mark: string): Files {
  const code = `
    const answer = ${JSON.stringify(mark)} + ' ' + process.env.VALUE;
    require('node:http').createServer((request, response) => response.end(answer)).listen(process.env.PORT);
  `;
  return running(code, { restartDelay: 50, drainTimeout: '1s', killTimeout: '1s', keepReleases: 1000 });
}

const shop = '/v1/apps/shop';
const directory = await temporaryDirectory(wholeFile);
execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(directory, 'key')]);
const publicKey = await readFile(join(directory, 'key.pub'), 'utf8');
const withRelease = (before: Seen, release: string): Seen => ({
  ...before,
  answer: `${release} ${before.variables['VALUE']}`,
});

const ofBoth = (['server', 'runner'] as const).flatMap((process): Scenario[] => [
  {
    ...{ name: 'rollback', process, act: (sluice) => sluice.rollback('shop', 1) },
    after: (before) => withRelease(before, 'base'),
    undo: (sluice) => sluice.rollback('shop', 2),
  },
  { name: 'deploy', process, act: (sluice, mark) => sluice.deploy('shop', marked(mark)), after: withRelease },
  {
    ...{ name: 'first deploy', process, act: (sluice, mark) => sluice.deploy(mark, marked(mark)) },
    after: (before, mark) => ({ ...before, apps: [...before.apps, mark].sort() }),
    undo: (sluice, mark) => destroy(sluice, mark),
  },
  {
    ...{ name: 'variables', process },
    act: (sluice, mark) => sluice.call('PATCH', `${shop}/env`, { VALUE: mark }),
    after: (before, mark) => {
      const [release] = before.answer?.split(' ') ?? [];
      return { ...before, answer: `${release} ${mark}`, variables: { VALUE: mark } };
    },
  },
  {
    ...{ name: 'scale', process, act: (sluice) => sluice.call('POST', `${shop}/scale`, { workers: 2 }) },
    after: (before) => ({ ...before, workers: 2 }),
    undo: (sluice) => sluice.call('POST', `${shop}/scale`, { workers: 1 }),
  },
  { name: 'restart', process, act: (sluice) => sluice.call('POST', `${shop}/restart`) },
  {
    ...{ name: 'stop', process, act: (sluice) => sluice.call('POST', `${shop}/stop`), interrupts: true },
    after: (before) => ({ ...before, answer: null, workers: null }),
    undo: (sluice) => sluice.call('POST', `${shop}/start`),
  },
]);

const scenarios: Scenario[] = [
  ...ofBoth,
  {
    ...{ name: 'destroy', process: 'server', act: (sluice) => destroy(sluice, 'other') },
    after: (before) => ({ ...before, apps: before.apps.filter((name) => name !== 'other') }),
    undo: (sluice) => sluice.deploy('other', marked('other')),
  },
  {
    ...{ name: 'token', process: 'server' },
    act: (sluice, name) => sluice.call('POST', '/v1/tokens', { name, scopes: ['read'] }),
    after: (before, mark) => ({ ...before, tokens: [...before.tokens, mark].sort() }),
    undo: (sluice, mark) => sluice.call('DELETE', `/v1/tokens/${mark}`),
  },
  {
    ...{ name: 'key', process: 'server' },
    act: (sluice, name) => sluice.call('POST', '/v1/keys', { name, key: publicKey }),
    after: (before, mark) => ({ ...before, keys: [...before.keys, mark].sort() }),
    undo: (sluice, mark) => sluice.call('DELETE', `/v1/keys/${mark}`),
  },
  {
    ...{ name: 'crash of a worker', process: 'runner', interrupts: true },
    async act(sluice) {
      const pids = async () => (await sluice.status('shop')).workers.map(({ pid }) => pid);
      const [pid = 0] = await pids();
      process.kill(pid, 'SIGKILL');
      await waitFor(async () => !(await pids()).includes(pid) && (await pids()).length > 0);
    },
  },
  {
    ...{ name: 'start of the server', process: 'server', restarts: true },
    async act(sluice) {
      await sluice.kill();
      await sluice.up(disk.env);
    },
  },
  {
    ...{ name: 'start of the runner', process: 'runner', restarts: true, interrupts: true },
    async act(sluice) {
      const pid = await runnerPid(sluice);
      if (pid !== undefined) process.kill(pid, 'SIGKILL');
      await waitFor(async () => ![undefined, pid].includes(await runnerPid(sluice)));
    },
  },
];

async function destroy(sluice: Sluice, name: string): Promise<void> {
  const apps = await sluice.call<{ name: string }[]>('GET', '/v1/apps');
  if (apps.some((app) => app.name === name)) await sluice.call('DELETE', `/v1/apps/${name}?confirm=${name}`);
}

/** Returns the state; undefined while there is no server, or while it starts. */
async function runnerPid(sluice: Sluice): Promise<number | undefined> {
  const status = sluice.call<{ runner: { pid: number } | null }>('GET', '/v1/status');
  return status.then(
    ({ runner }) => runner?.pid,
    (error: AppError) => {
      if (error.code !== 'runner_unavailable') throw error;
      return undefined;
    },
  );
}

async function see(sluice: Sluice): Promise<Seen> {
  const names = async (path: string) =>
    (await sluice.call<{ name: string }[]>('GET', path)).map(({ name }) => name).sort();
  const apps = await sluice.call<{ name: string; release: number | null }[]>('GET', '/v1/apps');
  const { state, wanted } = await sluice.status('shop');
  return {
    apps: apps.flatMap(({ name, release }) => (release === null ? [] : name)).sort(),
    answer: state === 'stopped' ? null : await sluice.get('shop'),
    variables: await sluice.call('GET', `${shop}/env`),
    workers: wanted,
    ...{ tokens: await names('/v1/tokens'), keys: await names('/v1/keys') },
  };
}

interface AppWorkers {
  workers: { pid: number }[];
  standby: { workers: number } | null;
}

/** Waits until the state is one of `expected`, and the runner knows all running workers. */
function settle(sluice: Sluice, expected: Seen[], what: string): Promise<Seen> {
  let last: unknown;
  return waitFor(
    async () => {
      last = await see(sluice).catch((error: Error) => error.message);
      if (!expected.some((each) => isDeepStrictEqual(each, last))) return false;
      const apps = await sluice.call<AppWorkers[]>('GET', '/v1/apps');
      const known = apps.flatMap(({ workers }) => workers.map(({ pid }) => pid));
      const onStandby = apps.reduce((sum, { standby }) => sum + (standby?.workers ?? 0), 0);
      const there = new Set(await workersOfHome(sluice.home));
      const areThere = known.every((pid) => there.has(pid)) && there.size === known.length + onStandby;
      return areThere && (last as Seen);
    },
    { what, timeout: 90_000 },
  ).catch((error: Error) => {
    throw new Error(`${error.message}: saw ${JSON.stringify(last)}, expected ${JSON.stringify(expected)}`);
  });
}

/** Lists stray files: temporary files, trees in staging, records and FIFOs of ended processes. */
async function strays(sluice: Sluice): Promise<string[]> {
  const names = await pathsBelow(sluice.home);
  const printedInto = await outputsOfWorkers(sluice);
  return names.filter(
    (name) =>
      /^\.(?:tmp|incoming|removing|dropped)-|\.new$|\.part$/.test(basename(name)) ||
      /^apps\/[^/]+\/[^/]+\/staging\/[^/]+$/.test(name) ||
      (/^run\/processes\/\d/.test(name) && isOfTheDead(join(sluice.home, name))) ||
      (/^run\/outputs\/.*\.(?:out|err|json)$/.test(name) &&
        !printedInto.has(basename(name).split('.')[0] ?? '')),
  );
}

/** Returns true if the process of a record has ended. Another process may have its number by now. */
function isOfTheDead(path: string): boolean {
  try {
    const { pid, startTime }: ProcessRecord = JSON.parse(readFileSync(path, 'utf8'));
    return processStartTime(pid) !== startTime;
  } catch {
    // The record is gone, or the disk took only a part of it.
    return existsSync(path);
  }
}

/** Returns the names of the FIFOs that workers print into, without extensions. */
async function outputsOfWorkers({ home }: Sluice): Promise<Set<string>> {
  const pids = await workersOfHome(home);
  const targets = await Promise.all(pids.map((pid) => readlink(`/proc/${pid}/fd/1`).catch(() => '')));
  return new Set(targets.map((target) => basename(target).split('.')[0] ?? ''));
}

/** Runs a scenario while a write fails. @returns the writes that were reached, one for each place in the code */
async function once(
  sluice: Sluice,
  disk: FailingDisk,
  scenario: Scenario,
  fault: Pick<Fault, 'code' | 'from' | 'lasts'>,
  mark: string,
): Promise<number[]> {
  const straysBefore = await strays(sluice);
  const before = await settle(sluice, [await see(sluice)], 'a Sluice at rest');
  const after = scenario.after?.(before, mark) ?? before;
  const pids = [sluice.pid, await runnerPid(sluice)];
  await using visitor = new Visitor((await sluice.status('shop')).url);
  await disk.fail({ ...fault, process: scenario.process });
  const acting = scenario.act(sluice, mark).catch((error: unknown) => error ?? new Error('no reason'));
  await Promise.race([acting, sleep(patience, undefined, { ref: false })]);
  if (fault.from === Number.MAX_SAFE_INTEGER) await acting;
  await disk.mend();
  const error = await acting;
  const counted = await disk.counted();
  const failed = counted.filter((write) => write.failed);
  const why = error instanceof Error ? error.message : 'done';
  const what = `${scenario.name}, ${fault.code} at ${JSON.stringify(failed.slice(0, 2))}: ${why}`;

  if (error instanceof Error) {
    assert.ok(failed.length > 0, what);
    assert.ok(scenario.restarts || (error instanceof AppError && error.code !== 'internal'), what);
    if (scenario.restarts) await scenario.act(sluice, mark);
  }
  const now = await settle(sluice, [before, after], what);
  if (!isDeepStrictEqual(now, after)) await scenario.act(sluice, mark);
  await settle(sluice, [after], `${what}, once more`);
  if (!scenario.restarts) assert.deepEqual([sluice.pid, await runnerPid(sluice)], pids, what);
  const { failures } = await visitor.leave();
  if (!scenario.interrupts) assert.deepEqual(failures, [], what);
  await scenario.undo?.(sluice, mark);
  // Files that cannot be removed stay until the next start.
  if (fault.code === 'ENOSPC') await untilTidy(sluice, straysBefore, what);
  return [...new Map(counted.map((write) => [`${write.operation} ${write.at[0]}`, write.n])).values()];
}

async function untilTidy(sluice: Sluice, before: string[], what: string): Promise<void> {
  const fresh = async () => (await strays(sluice)).filter((name) => !before.includes(name));
  const tidy = waitFor(async () => (await fresh()).length === 0, { timeout: 30_000 });
  await tidy.catch(async () => assert.deepEqual(await fresh(), [], what));
}

const faults = (['ENOSPC', 'EROFS', 'EIO'] as const).flatMap((code) =>
  [true, false].map((lasts) => ({ code, lasts })),
);

const disk = new FailingDisk(directory);
const sluice = await startSluice(wholeFile, { env: disk.env, settings: { minFreeBytes: 0 } });
await sluice.call('PATCH', `${shop}/env`, { VALUE: 'zero' });
for (const text of ['base', 'next']) await sluice.deploy('shop', marked(text));
await sluice.deploy('other', marked('other'));
const random = randomNumbers(seed);
let times = 0;

for (const scenario of scenarios.filter(({ name, process }) => chosen.test(`${name} ${process}`))) {
  test(`${scenario.name}: if the disk refuses any write of the ${scenario.process}, the state is the old or the new one${thorough(scenario.name !== 'deploy')}`, async (t) => {
    t.diagnostic(`SLUICE_TEST_SEED=${seed}`);
    const fail = (fault: Pick<Fault, 'code' | 'from' | 'lasts'>) => {
      times += 1;
      return once(sluice, disk, scenario, fault, `m${times}`);
    };
    const writes = await fail({ code: 'EIO', from: Number.MAX_SAFE_INTEGER, lasts: false });
    assert.ok(writes.length > 0);
    const all = faults.flatMap((fault) => writes.map((from) => ({ ...fault, from })));
    const sample = Array.from({ length: sampleSize }, () => all[random(all.length)] as (typeof all)[number]);
    for (const fault of isExhaustive ? all : sample) await fail(fault);
  });
}

test('files that a disk refused to remove are gone after the next start', async () => {
  await sluice.stop();
  await sluice.up(disk.env);
  await sluice.untilRunning('shop');
  await untilTidy(sluice, [], 'after a start');
});

/** Returns a source of whole numbers below a bound; the same seed gives the same numbers (mulberry32). */
function randomNumbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}
