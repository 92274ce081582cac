import { join } from 'node:path';
import { freePort } from '../../test/support/free-port.ts';
import { fetchText } from '../../test/support/http.ts';
import { apps } from '../../test/support/runner.ts';
import { loadDuringSwitches, type Switching, switchingOf } from '../../test/support/switching.ts';
import { waitFor } from '../../test/support/wait.ts';
import { startAppliance } from '../appliance.ts';
import type { Measurement, Scope, Side } from '../measurement.ts';
import { Pm2 } from '../pm2.ts';

const clients = 48;
const full = { switches: 100, requests: 500_000 };
const quick = { switches: 5, requests: 10_000 };

/** Requests of saturating clients during deploys and rollbacks, and during `pm2 reload`. */
export const requestsMeasurement: Measurement = {
  name: 'requests',
  rounds: 1,
  quickRounds: 1,
  rows: [
    {
      title: `requests lost in ${described(full)}; in a quick run, ${described(quick)}`,
      short: `requests lost in ${described(full)}`,
      unit: '',
      ours: 'sluice lost',
      rival: { name: 'pm2 reload', figure: 'pm2 lost' },
      goal: { figure: 0 },
    },
    {
      title: `requests that an old worker has answered after an answer of a new one`,
      short: 'requests that an old worker has answered after an answer of a new worker, under the same load',
      unit: '',
      ours: 'sluice out of order',
      rival: { name: 'pm2 reload', figure: 'pm2 out of order' },
      goal: { figure: 0 },
    },
  ],
  async prepare(scope) {
    const side = (name: string, switching: Switching): Side => {
      return async () => {
        const { switches, requests } = scope.quick ? quick : full;
        const report = await loadDuringSwitches(scope, switching, {
          ...{ switches, clients, requests, busy: 0 },
          // Some requests that PM2 loses never end.
          patience: 10_000,
        });
        if (report.answered < requests) throw new Error(`only ${report.answered} requests were answered`);
        return { [`${name} lost`]: report.errors.length, [`${name} out of order`]: report.outOfOrder };
      };
    };
    return [
      side('sluice', await switchingOf(await startAppliance(scope))),
      side('pm2', await reloadingPm2(scope)),
    ];
  },
};

function described({ switches, requests }: typeof full): string {
  return `${switches} switches and ${requests.toLocaleString('en')} requests`;
}

/** Starts the same app in PM2. */
async function reloadingPm2(scope: Scope): Promise<Switching> {
  const [pm2, port] = [await Pm2.create(scope), await freePort()];
  await pm2.start({ script: join(apps, 'plain.cjs'), env: { PORT: String(port) } });
  await waitFor(() => fetchText(port).catch(() => undefined), { what: 'the app in PM2' });
  return { port, replace: () => pm2.reload(), workers: async () => (await pm2.pids()).slice(1) };
}
