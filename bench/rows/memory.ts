import { setTimeout as pause } from 'node:timers/promises';
import { freePort } from '../../test/support/free-port.ts';
import { appliancePids, filesOf, startAppliance } from '../appliance.ts';
import { apps } from '../apps.ts';
import type { Measurement, Scope, Side } from '../measurement.ts';
import { Pm2 } from '../pm2.ts';
import { proportionalSize, residentSize } from '../processes.ts';

const rival = "PM2's daemon";

/** Memory of the programs that manage one app with two workers, without the app. Each round starts both again. */
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
  async prepare(scope) {
    const sluice = await startSluiceWithApp(scope);
    const pm2 = await startPm2WithApp(scope);
    // Both are idle for a while, as on a server.
    await pause(scope.quick ? 5000 : 30_000);
    const side = (name: string, pids: number[]): Side => {
      return async () => ({
        [`${name} proportional`]: await total(pids, proportionalSize),
        [`${name} resident`]: await total(pids, residentSize),
      });
    };
    return [side('sluice', sluice), side('pm2', pm2)];
  },
};

/** @returns MB */
async function total(pids: number[], sizeOf: (pid: number) => Promise<number>): Promise<number> {
  const sizes = await Promise.all(pids.map(sizeOf));
  return sizes.reduce((sum, size) => sum + size, 0) / 1e6;
}

async function startSluiceWithApp(scope: Scope): Promise<number[]> {
  const sluice = await startAppliance(scope);
  await sluice.deploy('shop', await filesOf(apps.hello, { workers: 2 }));
  return Object.values(await appliancePids(sluice));
}

async function startPm2WithApp(scope: Scope): Promise<number[]> {
  const pm2 = await Pm2.create(scope);
  await pm2.start({ script: apps.hello, env: { PORT: String(await freePort()) } });
  return [await pm2.daemon()];
}
