import { setTimeout as pause } from 'node:timers/promises';
import { freePort } from '../../test/support/free-port.ts';
import { fetchText } from '../../test/support/http.ts';
import { TestRunner } from '../../test/support/runner.ts';
import { waitFor } from '../../test/support/wait.ts';
import { filesOf, startAppliance } from '../appliance.ts';
import { apps } from '../apps.ts';
import { percentile } from '../figures.ts';
import type { Samples } from '../load/open-loop.ts';
import { LoadProcess } from '../load/process.ts';
import type { Measurement, Scope, Side } from '../measurement.ts';
import { Pm2 } from '../pm2.ts';

const rate = 1000;
const workers = 2;
const crowds = [64, 256];

/** Running app whose workers can be replaced under load. */
interface Replacing {
  name: string;
  port: number;
  replace(): Promise<unknown>;
}

/** Latency of requests at fixed times around a replacement of all workers, as by a deploy. Each round is a switch. */
export const switchMeasurement: Measurement = {
  name: 'switch',
  rounds: 20,
  quickRounds: 2,
  rows: [
    {
      title: `p99 in the second around a switch, ${rate} requests/s, 64 kept-alive connections`,
      unit: 'ms',
      ours: 'sluice 64 around',
      rival: { name: 'the second before', figure: 'sluice 64 before' },
      goal: { ratio: 2 },
    },
    {
      title: `p99 in the second around a switch, ${rate} requests/s, 64 kept-alive connections`,
      unit: 'ms',
      ours: 'sluice 64 around',
      rival: { name: 'pm2 reload', figure: 'pm2 64 around' },
      short: `p99 in the second around a switch, ${rate} requests/s, 64 connections`,
      goal: {},
    },
    ...crowds.map((connections) => ({
      title: `slowest request around a switch, ${rate} requests/s, ${connections} kept-alive connections`,
      unit: 'ms' as const,
      ours: `sluice ${connections} slowest`,
      rival: { name: 'pm2 reload', figure: `pm2 ${connections} slowest` },
      goal: { figure: connections === 64 ? 15 : 40 },
    })),
    {
      title: `failed requests per switch, ${rate} requests/s, 64 kept-alive connections`,
      unit: '',
      ours: 'sluice 64 failed',
      rival: { name: 'pm2 reload', figure: 'pm2 64 failed' },
      short: `failed requests per switch, ${rate} requests/s, 64 connections`,
      goal: { figure: 0 },
    },
  ],
  async prepare(scope) {
    const load = LoadProcess.start(scope);
    const running = [await inSluice(scope), await inPm2(scope)];
    return crowds.flatMap((connections) => running.map((app) => sideOf(app, connections, load)));
  },
};

/** Time in which no worker accepts connections, from the runner. */
export const pauseMeasurement: Measurement = {
  name: 'pause',
  rounds: 20,
  quickRounds: 5,
  rows: [{ title: 'pause of a switch', unit: 'ms', ours: 'pause', goal: { figure: 10 } }],
  async prepare(scope) {
    const runner = await TestRunner.start(scope);
    const spec = () => ({ ...runner.spec('plain.cjs'), script: apps.hello });
    await runner.release(spec());
    return [async () => ({ pause: (await runner.release(spec())).pauseMs })];
  },
};

async function inSluice(scope: Scope): Promise<Replacing> {
  const sluice = await startAppliance(scope);
  const files = await filesOf(apps.probe);
  await sluice.deploy('shop', { ...files, 'sluice.json': { workers } });
  const { port } = await sluice.status('shop');
  return { name: 'sluice', port, replace: () => sluice.call('POST', '/v1/apps/shop/restart') };
}

async function inPm2(scope: Scope): Promise<Replacing> {
  const [pm2, port] = [await Pm2.create(scope), await freePort()];
  await pm2.start({ script: apps.probe, workers, env: { PORT: String(port) } });
  await waitFor(() => fetchText(port).catch(() => undefined), { what: 'the app in PM2' });
  return { name: 'pm2', port, replace: () => pm2.reload() };
}

function sideOf({ name, port, replace }: Replacing, connections: number, load: LoadProcess): Side {
  const key = `${name} ${connections}`;
  return async () => {
    await load.start({ port, connections, rate });
    await pause(1500);
    const replacedAt = performance.timeOrigin + performance.now();
    await replace();
    await pause(800);
    const samples = await load.stop();
    const { before, around } = windows(samples, replacedAt);
    return {
      [`${key} before`]: percentile(before, 0.99),
      [`${key} around`]: percentile(around, 0.99),
      [`${key} slowest`]: Math.max(...around),
      [`${key} failed`]: samples.failed,
    };
  };
}

/**
 * Returns the latencies in the second before a command, and in the second around the first answer of a new worker.
 * @throws Error if no new worker has answered
 */
function windows(
  { due, answered, pids }: Samples,
  replacedAt: number,
): Record<'before' | 'around', number[]> {
  const all = due.map((start, index) => ({
    start,
    end: answered[index] ?? Number.NaN,
    pid: pids[index] ?? 0,
  }));
  const old = new Set(all.filter(({ end }) => end < replacedAt).map(({ pid }) => pid));
  const switchedAt = Math.min(...all.filter(({ pid }) => !old.has(pid)).map(({ end }) => end));
  if (!Number.isFinite(switchedAt)) throw new Error('no new worker has answered');
  const within = (from: number, to: number) =>
    all.filter(({ start }) => start >= from && start < to).map(({ start, end }) => end - start);
  return {
    before: within(replacedAt - 1000, replacedAt),
    around: within(switchedAt - 500, switchedAt + 500),
  };
}
