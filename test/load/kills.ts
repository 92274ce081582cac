import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { signalProcess } from '../../src/system/process/processes.ts';
import { Load, type LoadReport } from '../support/load.ts';
import { movesConnections } from '../support/network.ts';
import { apps } from '../support/runner.ts';
import { type Sluice, startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';

/** Shortest time of each under load, in ms. */
const duration = 20_000;
const kills = 4;
const clients = 16;

const ways: Record<string, (sluice: Sluice) => Promise<void>> = {
  'the runner is killed': async (sluice) => {
    signalProcess(await runnerPid(sluice), 'SIGKILL');
  },
  'the server is killed': async (sluice) => {
    await sluice.kill();
    await sluice.up();
  },
  'both are killed': async (sluice) => {
    const runner = await runnerPid(sluice);
    await sluice.kill();
    signalProcess(runner, 'SIGKILL');
    await sluice.up();
  },
  'both are replaced, as for an upgrade': async (sluice) => {
    await sluice.leave();
    await sluice.up();
  },
};

for (const [what, happen] of Object.entries(ways)) {
  test(`${what}, ${kills} times in 20 s of load: no request fails`, async (t) => {
    const sluice = await startSluice(t);
    await sluice.deploy('shop', {
      'server.js': await readFile(join(apps, 'plain.cjs'), 'utf8'),
      'sluice.json': { settleTime: 100, workers: 2 },
    });
    const load = new Load((await sluice.status('shop')).port, clients);
    t.after(() => load.stop());
    for (let count = 0; count < kills; count += 1) {
      await quietly(load, duration / kills);
      await happen(sluice);
      await inCare(sluice);
    }
    await quietly(load, 1000);
    report(t, await load.stop(), what);
  });
}

/** Lets the load continue for a while, and checks that it does. */
async function quietly(load: Load, milliseconds: number): Promise<void> {
  const before = load.answered;
  const end = performance.now() + milliseconds;
  await waitFor(() => performance.now() > end && load.answered > before, { timeout: 60_000 });
}

/** Waits until a runner supervises the app with all its workers. */
async function inCare(sluice: Sluice): Promise<void> {
  await waitFor(
    async () => {
      const { state, workers } = await sluice.status('shop');
      return state === 'running' && workers.filter((worker) => worker.state === 'open').length === 2;
    },
    { timeout: 30_000, what: 'an app in the care of a runner' },
  );
}

async function runnerPid(sluice: Sluice): Promise<number> {
  return waitFor(
    async () => (await sluice.call<{ runner: { pid: number } | null }>('GET', '/v1/status')).runner?.pid,
    { what: 'a runner' },
  );
}

/**
 * Where the kernel does not move what waits on a socket that is closed, those few are reset that were in the queue of
 * the old workers' socket at its very end; of the server's death nobody notices anything at any rate.
 */
function report(t: TestContext, { samples, errors }: LoadReport, what: string): void {
  t.diagnostic(`${samples.length} requests, ${errors.length} lost`);
  if (movesConnections() || what === 'the server is killed') assert.deepEqual(errors, []);
  else assert.ok(errors.length <= kills * clients, `${errors.length} lost`);
}
