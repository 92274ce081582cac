import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { Load, type LoadOptions, type LoadReport } from './load.ts';
import type { Files } from './pack.ts';
import { apps } from './runner.ts';
import { type Sluice, startSluice } from './server.ts';
import { waitFor } from './wait.ts';

const app = 'shop';

/** App whose workers are replaced. */
export interface Switching {
  port: number;
  /** replaces the workers; resolves when that is done */
  replace(count: number): Promise<void>;
  /** returns the pids of the workers that accept requests */
  workers(): Promise<number[]>;
}

interface SwitchesOptions extends LoadOptions {
  switches: number;
  clients: number;
  /** number of requests to send in all */
  requests?: number;
}

/** History of the requests during switches. */
export interface SwitchesReport {
  answered: number;
  /** requests without an answer, or with a wrong one */
  errors: string[];
  /** requests that earlier workers have answered than those that somebody had an answer from before */
  outOfOrder: number;
  /** times between two switches in which a request was answered */
  periods: number;
}

/** Replaces the workers again and again while clients keep the app saturated; then reads the clients' history. */
export async function loadDuringSwitches(
  t: Pick<TestContext, 'after'>,
  switching: Switching,
  { switches, clients, requests = 0, ...options }: SwitchesOptions,
): Promise<SwitchesReport> {
  const periods: Period[] = [{ begin: 0, pids: await switching.workers() }];
  const load = new Load(switching.port, clients, undefined, options);
  t.after(() => load.stop());
  const atLeast = async (answered: number, what: string) =>
    waitFor(() => load.answered > answered, { timeout: 600_000, what });
  for (let count = 1; count <= switches; count += 1) {
    await atLeast(Math.max(load.answered + clients, (requests * count) / (switches + 1)), 'the load');
    const begin = performance.now();
    await switching.replace(count);
    periods.push({ begin, pids: await switching.workers() });
  }
  // Each client has one request under way at most: of so many one was begun after the last switch.
  await atLeast(Math.max(load.answered + clients, requests), 'answers of the last workers');
  const { samples, errors } = await load.stop();
  return { answered: samples.length, errors, ...orderOf(samples, periods) };
}

/** Time from the begin of a switch on, in ms, and the workers that accept requests after this switch. */
interface Period {
  begin: number;
  pids: number[];
}

type Sample = LoadReport['samples'][number];

/**
 * Counts answers out of order. Workers may come back from standby: an answer belongs to the first period of its worker that has begun,
 * and that is not before a period of which somebody had an answer when the request was sent.
 */
export function orderOf(
  samples: Sample[],
  periods: Period[],
): Pick<SwitchesReport, 'outOfOrder' | 'periods'> {
  const periodsOf = (pid: number) =>
    periods.flatMap(({ pids }, index) => (pids.includes(pid) ? [index] : []));
  const known = new Map([...new Set(samples.map(({ pid }) => pid))].map((pid) => [pid, periodsOf(pid)]));
  assert.ok([...known.values()].every((list) => list.length > 0));
  const found = new Set<number>();
  let outOfOrder = 0;
  let latest = 0;
  const starts = samples.map((sample) => ({ at: sample.start, sample, isEnd: false }));
  const ends = samples.map((sample) => ({ at: sample.end, sample, isEnd: true }));
  const latestAtStart = new Map<Sample, number>();
  for (const { sample, isEnd } of [...starts, ...ends].sort((a, b) => a.at - b.at)) {
    if (!isEnd) {
      latestAtStart.set(sample, latest);
      continue;
    }
    const earliest = latestAtStart.get(sample) ?? 0;
    const period = known
      .get(sample.pid)
      ?.find((index) => index >= earliest && (periods[index]?.begin ?? 0) <= sample.end);
    if (period === undefined) outOfOrder += 1;
    else {
      found.add(period);
      latest = Math.max(latest, period);
    }
  }
  return { outOfOrder, periods: found.size };
}

/**
 * Deploys, and rolls back each third time, while clients keep the app saturated: every request is answered, and none by earlier
 * workers than those that somebody had an answer from before.
 */
export async function switchUnderLoad(t: TestContext, switches: number, clients: number): Promise<void> {
  const sluice = await startSluice(t);
  const report = await loadDuringSwitches(t, await switchingOf(sluice), { switches, clients });
  t.diagnostic(`${switches} switches, ${report.answered} requests, ${report.errors.length} lost`);
  assert.deepEqual(report.errors, []);
  assert.equal(report.periods, switches + 1);
  assert.equal(report.outOfOrder, 0);
  await leavesNothing(sluice);
}

/** Deploys an app that deploys and rollbacks replace. */
export async function switchingOf(sluice: Sluice): Promise<Switching> {
  await sluice.deploy(app, await files(0));
  return {
    port: (await sluice.status(app)).port,
    replace: async (count) => {
      if (count % 3 === 0) await sluice.rollback(app);
      else await sluice.deploy(app, await files(count));
    },
    workers: async () => {
      const { workers } = await sluice.status(app);
      return workers.filter(({ state }) => state === 'open' || state === 'opening').map(({ pid }) => pid);
    },
  };
}

async function files(count: number): Promise<Files> {
  return {
    'server.js': await readFile(join(apps, 'plain.cjs'), 'utf8'),
    'count.txt': String(count),
    'sluice.json': { settleTime: 100, workers: 2 },
  };
}

/** Retired generations are gone when they have drained, and only what is kept for rollback is on the disk. */
async function leavesNothing(sluice: Sluice): Promise<void> {
  await waitFor(async () => (await sluice.status(app)).workers.length === 2, {
    what: 'the end of the retired',
  });
  const kept = (await sluice.releases(app)).filter(({ state }) => state === 'retained' || state === 'live');
  assert.ok(kept.length <= 5, `${kept.length} releases are kept`);
}
