import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Checkout } from '../../test/support/git.ts';
import type { Sluice } from '../../test/support/server.ts';
import { Sshd } from '../../test/support/sshd.ts';
import { filesOf, startAppliance } from '../appliance.ts';
import { apps } from '../apps.ts';
import { bootTimes } from '../boot-time.ts';
import { median } from '../figures.ts';
import type { Measurement, Scope, Side } from '../measurement.ts';

const workers = 2;
const ways = { http: 'HTTP', ssh: 'ssh' };

/** Way to push: the URL, and settings of git. */
interface Way {
  name: keyof typeof ways;
  url: string;
  settings: Record<string, string>;
}

/** Time of a push of a small app until git has ended, without the boots of the app. */
export const pushMeasurement: Measurement = {
  name: 'push',
  rounds: 9,
  quickRounds: 0,
  rows: Object.entries(ways).map(([name, way]) => ({
    title: `git push of a small app over ${way}, beyond the boots of ${workers} workers`,
    unit: 'ms',
    ours: name,
    goal: { figure: 700 },
  })),
  async prepare(scope) {
    const sluice = await startAppliance(scope);
    const boots = workers * median(await bootTimes());
    return Promise.all((await waysTo(sluice, scope)).map((way) => sideOf(way, boots, scope)));
  },
};

/** Without sshd, returns HTTP alone. */
async function waysTo(sluice: Sluice, scope: Scope): Promise<Way[]> {
  const http: Way = { name: 'http', url: sluice.gitUrl('http'), settings: {} };
  if (!existsSync('/usr/sbin/sshd')) return [http];
  const sshd = await Sshd.start(scope, join(sluice.home, '.ssh/authorized_keys'));
  await sluice.call('POST', '/v1/keys', { name: 'bench', key: await sshd.makeKey('bench') });
  return [http, { name: 'ssh', url: sshd.url('ssh'), settings: { GIT_SSH_COMMAND: sshd.command('bench') } }];
}

async function sideOf({ name, url, settings }: Way, boots: number, scope: Scope): Promise<Side> {
  const checkout = await Checkout.create(scope, settings);
  await checkout.write(await filesOf(apps.hello, { workers }));
  let pushes = 0;
  return async () => {
    pushes += 1;
    await checkout.commit(`Push ${pushes}`, { 'lib/data.js': `// ${pushes}\n` });
    const start = performance.now();
    await checkout.git('push', '--quiet', url, 'main');
    return { [name]: performance.now() - start - boots };
  };
}
