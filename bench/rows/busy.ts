import { setTimeout as pause } from 'node:timers/promises';
import { startAlone } from '../alone.ts';
import { filesOf, startAppliance } from '../appliance.ts';
import { apps } from '../apps.ts';
import { percentile } from '../figures.ts';
import type { Samples } from '../load/open-loop.ts';
import { LoadProcess } from '../load/process.ts';
import type { Measurement, Side } from '../measurement.ts';

// If connections took turns, two workers that hold every other connection would never get two requests at once, by chance.
const load = { connections: 16, rate: 250, random: true, path: '/busy' };

/** Latency of requests that compute, which shows whether a worker has more of them than its sibling. */
export const busyMeasurement: Measurement = {
  name: 'busy',
  rounds: 21,
  quickRounds: 3,
  rows: [
    {
      title: `p99 at ${load.rate} requests/s of 3 ms of CPU each, ${load.connections} connections, 2 workers`,
      unit: 'ms',
      ours: 'sluice',
      rival: { name: 'node:cluster', figure: 'cluster' },
      goal: { ratio: 1 },
    },
  ],
  async prepare(scope) {
    const generator = LoadProcess.start(scope);
    const side = (name: string, port: number): Side => {
      return async () => {
        await generator.start({ ...load, port });
        await pause(scope.quick ? 2500 : 6000);
        return { [name]: percentile(settled(await generator.stop()), 0.99) };
      };
    };
    const sluice = await startAppliance(scope);
    await sluice.deploy('shop', await filesOf(apps.probe, { workers: 2 }));
    const { port } = await sluice.status('shop');
    const cluster = await startAlone(scope, apps.cluster, { SCRIPT: apps.probe });
    return [side('sluice', port), side('cluster', cluster.port)];
  },
};

/** @returns latencies in ms, without the first second */
function settled({ due, answered, failed }: Samples): number[] {
  if (failed > 0) throw new Error(`${failed} requests failed`);
  const begin = Math.min(...due) + 1000;
  return answered.flatMap((time, index) => {
    const start = due[index] ?? Number.NaN;
    return start < begin ? [] : [time - start];
  });
}
