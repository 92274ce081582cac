import { readFile } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import type { ServerStatus } from '../src/api/routes/server.ts';
import { ApiClient } from '../src/client/api-client.ts';
import { type Sluice, startSluice } from '../test/support/server.ts';
import {
  cpuTime,
  hello,
  inScope,
  proportionalSize,
  residentSize,
  row,
  sluiceEnvironment,
} from './support.ts';

const apps = 50;
const calls = 100;
const idleFor = 30_000;

/** Measures many idle apps: memory and CPU of the appliance, and the time of a status. */
export function benchMany(): Promise<void> {
  return inScope(async (t) => {
    // As for the deploys: the first start fills the compile cache.
    const env = await sluiceEnvironment(t);
    const sluice = await startSluice(t, { env, settings: { apps: { firstPort: 31_000 } } });
    await sluice.stop();
    await sluice.up(env);
    const files = {
      'server.js': await readFile(hello, 'utf8'),
      'sluice.json': { settleTime: 0, workers: 1 },
    };
    for (let app = 1; app <= apps; app += 1) await sluice.deploy(`app-${app}`, files);

    const { server, runner } = await sluice.call<ServerStatus>('GET', '/v1/status');
    for (const [way, call] of Object.entries(ways(sluice))) {
      const times = await timesOf(call);
      const at = (part: number) => `${(times[Math.floor(calls * part)] ?? Number.NaN).toFixed(1)} ms`;
      row(`status of ${apps} apps over ${way}, median`, at(0.5), '≤ 50 ms');
      row(`status of ${apps} apps over ${way}, p95`, at(0.95), '≤ 50 ms');
    }
    const pids = { server: server.pid, runner: runner?.pid ?? 0 };
    await benchIdleness(pids);
    await benchMemory(pids);
  });
}

/** Measures after the idle time: right after 50 deploys, V8 has not yet collected their garbage. */
async function benchMemory(pids: Record<'server' | 'runner', number>): Promise<void> {
  const mega = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
  const server = await proportionalSize(pids.server);
  console.log(
    `${apps} apps of 1 worker: server ${mega(await residentSize(pids.server))} resident, ${mega(server)} proportional`,
  );
  row(`runner of ${apps} apps, proportional`, mega(await proportionalSize(pids.runner)), '≤ 90 MB');
  row(`runner of ${apps} apps, resident`, mega(await residentSize(pids.runner)), '≤ 90 MB');
}

/** Returns the ways to ask for the status: over TCP, and as `sluice status` does. */
function ways(sluice: Sluice): Record<string, () => Promise<ServerStatus>> {
  const local = new ApiClient({ kind: 'socket', path: sluice.paths.serverSocket, home: sluice.home });
  return {
    loopback: () => sluice.call('GET', '/v1/status'),
    'the unix socket': () => local.call('GET', '/v1/status'),
  };
}

/** @returns in ms, the shortest first */
async function timesOf(call: () => Promise<ServerStatus>): Promise<number[]> {
  const times: number[] = [];
  for (let count = 0; count < calls; count += 1) {
    const start = performance.now();
    const status = await call();
    times.push(performance.now() - start);
    const running = status.apps.filter(({ state }) => state === 'running').length;
    if (running !== apps) throw new Error(`${running} of ${apps} apps run`);
  }
  return times.sort((a, b) => a - b);
}

/** Measures the CPU time while no call and no request arrives. */
async function benchIdleness(pids: Record<'server' | 'runner', number>): Promise<void> {
  // Work that the calls left is not counted.
  await pause(2000);
  for (const [name, used] of Object.entries(await cpuDuring(pids, idleFor))) {
    row(
      `CPU of the idle ${name} with ${apps} apps`,
      `${(used / idleFor / 10).toFixed(2)} %`,
      '≤ 1 % of a core',
    );
  }
}

/** @returns the CPU time of each process during the time, in µs */
async function cpuDuring(
  pids: Record<string, number>,
  milliseconds: number,
): Promise<Record<string, number>> {
  const measure = async () => Promise.all(Object.values(pids).map((pid) => cpuTime([pid])));
  const before = await measure();
  await pause(milliseconds);
  const after = await measure();
  return Object.fromEntries(
    Object.keys(pids).map((name, at) => [name, (after[at] ?? 0) - (before[at] ?? 0)]),
  );
}
