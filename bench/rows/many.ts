import { setTimeout as pause } from 'node:timers/promises';
import type { ServerStatus } from '../../src/api/routes/server.ts';
import { ApiClient } from '../../src/client/api-client.ts';
import type { Sluice } from '../../test/support/server.ts';
import { appliancePids, filesOf, startAppliance } from '../appliance.ts';
import { apps } from '../apps.ts';
import { percentile } from '../figures.ts';
import type { Measurement } from '../measurement.ts';
import { cpuTime, proportionalSize, residentSize } from '../processes.ts';

const count = 50;
const calls = 100;
const idleFor = 30_000;

/** Memory and CPU of Sluice with many idle apps, and the time of a status. */
export const manyMeasurement: Measurement = {
  name: 'many',
  rounds: 3,
  quickRounds: 0,
  rows: [
    ...['loopback', 'the unix socket'].flatMap((way) => [
      row(`status of ${count} apps over ${way}, median`, 'ms', `${way} median`, 50),
      row(`status of ${count} apps over ${way}, p95`, 'ms', `${way} p95`, 50),
    ]),
    ...['server', 'runner'].map((name) =>
      row(`CPU of the idle ${name} with ${count} apps`, '%', `idle ${name}`, 1),
    ),
    row(`runner of ${count} apps, proportional`, 'MB', 'proportional', 90),
    row(`runner of ${count} apps, resident`, 'MB', 'resident', 90),
  ],
  async prepare(scope) {
    const sluice = await startAppliance(scope, { apps: { firstPort: 31_000 } });
    const files = await filesOf(apps.hello, { workers: 1 });
    for (let app = 1; app <= count; app += 1) await sluice.deploy(`app-${app}`, files);
    const pids = await appliancePids(sluice);
    return [
      async () => ({
        ...(await statusTimes(sluice)),
        'idle server': await idleShare(pids.server),
        'idle runner': await idleShare(pids.runner),
        // After the idle time: right after 50 deploys, V8 has not yet collected their garbage.
        proportional: (await proportionalSize(pids.runner)) / 1e6,
        resident: (await residentSize(pids.runner)) / 1e6,
      }),
    ];
  },
};

function row(title: string, unit: 'ms' | '%' | 'MB', ours: string, figure: number) {
  return { title, unit, ours, goal: { figure } };
}

/** Asks over TCP, and as `sluice status` does. */
async function statusTimes(sluice: Sluice): Promise<Record<string, number>> {
  const local = new ApiClient({ kind: 'socket', path: sluice.paths.serverSocket, home: sluice.home });
  const ways: Record<string, () => Promise<ServerStatus>> = {
    loopback: () => sluice.call('GET', '/v1/status'),
    'the unix socket': () => local.call('GET', '/v1/status'),
  };
  const figures: Record<string, number> = {};
  for (const [way, call] of Object.entries(ways)) {
    const times = await timesOf(call);
    figures[`${way} median`] = percentile(times, 0.5);
    figures[`${way} p95`] = percentile(times, 0.95);
  }
  return figures;
}

/** @returns in ms */
async function timesOf(call: () => Promise<ServerStatus>): Promise<number[]> {
  const times: number[] = [];
  while (times.length < calls) {
    const start = performance.now();
    const status = await call();
    times.push(performance.now() - start);
    const running = status.apps.filter(({ state }) => state === 'running').length;
    if (running !== count) throw new Error(`${running} of ${count} apps run`);
  }
  return times;
}

/** @returns percentage of a core that a process uses while no call and no request arrives */
async function idleShare(pid: number): Promise<number> {
  // Work that the calls left is not counted.
  await pause(2000);
  const before = await cpuTime([pid]);
  await pause(idleFor);
  return ((await cpuTime([pid])) - before) / idleFor / 10;
}
