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

/**
 * Deploys, and rolls back each third time, while clients keep the app saturated; then reads the clients' history:
 * every request was answered, and none by an older generation than one that somebody had an answer from before.
 */
export async function switchUnderLoad(t: TestContext, switches: number, clients: number): Promise<void> {
  const sluice = await startSluice(t);
  await sluice.deploy(app, await files(0));
  const generations = new Map<number, number>();
  const noteWorkers = async () => {
    const { workers } = await sluice.status(app);
    for (const { pid, generation } of workers) generations.set(pid, generation);
  };
  await noteWorkers();
  const load = new Load((await sluice.status(app)).port, clients);
  t.after(() => load.stop());
  for (let count = 1; count <= switches; count += 1) {
    const before = load.answered;
    await waitFor(() => load.answered > before + clients, { what: 'the load' });
    if (count % 3 === 0) await sluice.rollback(app);
    else await sluice.deploy(app, await files(count));
    await noteWorkers();
  }
  // Each client has one request under way at most: of so many one was begun after the last switch.
  const before = load.answered;
  await waitFor(() => load.answered > before + clients, { what: 'answers of the last release' });
  const report = await load.stop();
  t.diagnostic(`${switches} switches, ${report.samples.length} requests, ${report.errors.length} lost`);
  assert.deepEqual(report.errors, []);
  // Only the order of the generations counts; a rollback's is newer than the one it takes over from.
  const samples = report.samples.map((sample) => ({
    ...sample,
    mark: generations.get(sample.pid) ?? Number.NaN,
  }));
  assert.ok(samples.every(({ mark }) => mark > 0));
  assert.equal(new Set(samples.map(({ mark }) => mark)).size, switches + 1);
  assert.deepEqual(orderViolations({ samples }), []);
  await leavesNothing(sluice);
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
