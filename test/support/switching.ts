import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { Load, orderViolations } from './load.ts';
import type { Files } from './pack.ts';
import { apps } from './runner.ts';
import { type Sluice, startSluice } from './server.ts';
import { waitFor } from './wait.ts';

const app = 'shop';

/** App whose generations replace each other. */
export interface Switching {
  port: number;
  /** replaces the workers; resolves when that is done */
  replace(count: number): Promise<void>;
  /** returns the generation of each running worker: pid to number */
  generations(): Promise<Map<number, number>>;
}

interface SwitchesOptions {
  switches: number;
  clients: number;
  /** number of requests to send in all */
  requests?: number;
  /** clients that block the event loop of a worker */
  busy?: number;
}

/** History of the requests during switches. */
export interface SwitchesReport {
  answered: number;
  /** requests without an answer, or with a wrong one */
  errors: string[];
  /** requests that an older generation has answered than one that somebody had an answer from before */
  outOfOrder: number;
  /** generations that have answered */
  generations: number;
}

/** Replaces the workers again and again while clients keep the app saturated; then reads the clients' history. */
export async function loadDuringSwitches(
  t: Pick<TestContext, 'after'>,
  switching: Switching,
  { switches, clients, requests = 0, busy = 2 }: SwitchesOptions,
): Promise<SwitchesReport> {
  const generations = await switching.generations();
  const load = new Load(switching.port, clients, undefined, busy);
  t.after(() => load.stop());
  const atLeast = async (answered: number, what: string) =>
    waitFor(() => load.answered > answered, { timeout: 600_000, what });
  for (let count = 1; count <= switches; count += 1) {
    await atLeast(Math.max(load.answered + clients, (requests * count) / (switches + 1)), 'the load');
    await switching.replace(count);
    for (const [pid, generation] of await switching.generations()) generations.set(pid, generation);
  }
  // Each client has one request under way at most: of so many one was begun after the last switch.
  await atLeast(Math.max(load.answered + clients, requests), 'answers of the last release');
  const { samples, errors } = await load.stop();
  // Only the order of the generations counts; a rollback's is newer than the one it takes over from.
  const marked = samples.map((sample) => ({ ...sample, mark: generations.get(sample.pid) ?? Number.NaN }));
  assert.ok(marked.every(({ mark }) => mark > 0));
  return {
    answered: samples.length,
    errors,
    outOfOrder: orderViolations({ samples: marked }).length,
    generations: new Set(marked.map(({ mark }) => mark)).size,
  };
}

/**
 * Deploys, and rolls back each third time, while clients keep the app saturated: every request is answered, and none by an older
 * generation than one that somebody had an answer from before.
 */
export async function switchUnderLoad(t: TestContext, switches: number, clients: number): Promise<void> {
  const sluice = await startSluice(t);
  const report = await loadDuringSwitches(t, await switchingOf(sluice), { switches, clients });
  t.diagnostic(`${switches} switches, ${report.answered} requests, ${report.errors.length} lost`);
  assert.deepEqual(report.errors, []);
  assert.equal(report.generations, switches + 1);
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
    generations: async () => {
      const { workers } = await sluice.status(app);
      return new Map(workers.map(({ pid, generation }) => [pid, generation]));
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
