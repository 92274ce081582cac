import { execFile } from 'node:child_process';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { restAfter } from '../../src/server/rest.ts';
import { freePort } from '../../test/support/free-port.ts';
import { Units } from '../../test/support/units.ts';
import { environment, filesOf } from '../appliance.ts';
import { apps } from '../apps.ts';
import type { Measurement, Scope } from '../measurement.ts';
import { Pm2 } from '../pm2.ts';
import { proportionalSize, residentSize } from '../processes.ts';
import { inScope } from '../run.ts';

const rival = "PM2's daemon";

/**
 * Memory of the programs that manage one app with two workers, without the app. They run one after the other: side by side, they would
 * share the pages of Node.js, and both would seem smaller than alone on a server. Under systemd, Sluice's server ends after two minutes
 * without work (docs/units.md), so the runner is alone most of the time.
 */
export const memoryMeasurement: Measurement = {
  name: 'memory',
  rounds: 3,
  quickRounds: 1,
  rows: [
    {
      title: 'memory of server and runner with one app, proportional, after two minutes without work',
      short: 'memory of the process manager after two minutes without work, with one app, without the app',
      unit: 'MB',
      ours: 'rest proportional',
      rival: { name: rival, figure: 'pm2 proportional' },
      goal: { ratio: 1.2 },
    },
    {
      title: 'memory of server and runner with one app, resident, after two minutes without work',
      unit: 'MB',
      ours: 'rest resident',
      rival: { name: rival, figure: 'pm2 resident' },
      goal: {},
    },
    {
      title: 'memory of server and runner with one app, proportional, while the server runs',
      unit: 'MB',
      ours: 'work proportional',
      rival: { name: rival, figure: 'pm2 proportional' },
      goal: {},
    },
  ],
  async prepare({ quick }) {
    // Fills the compile cache, as an installation does.
    const warm = fileURLToPath(new URL('../../src/server/warm.ts', import.meta.url));
    await promisify(execFile)(process.execPath, [warm], { env: { ...process.env, ...environment } });
    const restSeconds = quick ? 10 : restAfter / 1000;
    const idle = 5000;
    const sizes = async (name: string, pids: number[]) => ({
      [`${name} proportional`]: await total(pids, proportionalSize),
      [`${name} resident`]: await total(pids, residentSize),
    });
    const sluice = () =>
      inScope(async (scope) => {
        const units = await startSluiceWithApp(scope, restSeconds);
        await pause(idle);
        const atWork = await sizes('work', [units.serverPid, units.runnerPid]);
        await units.ended();
        await pause(idle);
        return { ...atWork, ...(await sizes('rest', [units.runnerPid])) };
      });
    const pm2 = () =>
      inScope(async (scope) => {
        const pids = await startPm2WithApp(scope);
        // PM2 is idle for as long as Sluice.
        await pause(restSeconds * 1000 + idle);
        return sizes('pm2', pids);
      });
    return [sluice, pm2];
  },
};

/** @returns MB */
async function total(pids: number[], sizeOf: (pid: number) => Promise<number>): Promise<number> {
  const sizes = await Promise.all(pids.map(sizeOf));
  return sizes.reduce((sum, size) => sum + size, 0) / 1e6;
}

async function startSluiceWithApp(scope: Pick<Scope, 'after'>, restSeconds: number): Promise<Units> {
  const units = await Units.create(scope, { restSeconds, env: environment });
  await units.start();
  // Without a watch after the deploy, which would keep the server up.
  await units.deploy('shop', await filesOf(apps.hello, { workers: 2, watchTime: 0 }));
  return units;
}

async function startPm2WithApp(scope: Pick<Scope, 'after'>): Promise<number[]> {
  const pm2 = await Pm2.create(scope);
  await pm2.start({ script: apps.hello, env: { PORT: String(await freePort()) } });
  return [await pm2.daemon()];
}
