import { setTimeout as pause } from 'node:timers/promises';
import { freePort } from '../../test/support/free-port.ts';
import { appliancePids, filesOf, startAppliance } from '../appliance.ts';
import { apps } from '../apps.ts';
import type { Measurement, Scope, Side } from '../measurement.ts';
import { Pm2 } from '../pm2.ts';
import { proportionalSize, residentSize } from '../processes.ts';
import { inScope } from '../run.ts';

const rival = "PM2's daemon";

/**
 * Memory of the programs that manage one app with two workers, without the app. They run one after the other: side by side, they would
 * share the pages of Node.js, and both would seem smaller than alone on a server.
 */
export const memoryMeasurement: Measurement = {
  name: 'memory',
  rounds: 5,
  quickRounds: 1,
  rows: [
    {
      title: 'memory of server and runner with one app, proportional',
      short: 'memory of the process manager with one app, without the app',
      unit: 'MB',
      ours: 'sluice proportional',
      rival: { name: rival, figure: 'pm2 proportional' },
      goal: { ratio: 1.2 },
    },
    {
      title: 'memory of server and runner with one app, resident',
      unit: 'MB',
      ours: 'sluice resident',
      rival: { name: rival, figure: 'pm2 resident' },
      goal: {},
    },
  ],
  async prepare({ quick }) {
    const side = (name: string, start: (scope: Pick<Scope, 'after'>) => Promise<number[]>): Side => {
      return () =>
        inScope(async (scope) => {
          const pids = await start(scope);
          // It is idle for a while, as on a server.
          await pause(quick ? 5000 : 15_000);
          return {
            [`${name} proportional`]: await total(pids, proportionalSize),
            [`${name} resident`]: await total(pids, residentSize),
          };
        });
    };
    return [side('sluice', startSluiceWithApp), side('pm2', startPm2WithApp)];
  },
};

/** @returns MB */
async function total(pids: number[], sizeOf: (pid: number) => Promise<number>): Promise<number> {
  const sizes = await Promise.all(pids.map(sizeOf));
  return sizes.reduce((sum, size) => sum + size, 0) / 1e6;
}

async function startSluiceWithApp(scope: Pick<Scope, 'after'>): Promise<number[]> {
  const sluice = await startAppliance(scope);
  await sluice.deploy('shop', await filesOf(apps.hello, { workers: 2 }));
  return Object.values(await appliancePids(sluice));
}

async function startPm2WithApp(scope: Pick<Scope, 'after'>): Promise<number[]> {
  const pm2 = await Pm2.create(scope);
  await pm2.start({ script: apps.hello, env: { PORT: String(await freePort()) } });
  return [await pm2.daemon()];
}
