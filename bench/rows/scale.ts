import { mkdir, readFile, writeFile } from 'node:fs/promises';
import type { Sluice } from '../../test/support/server.ts';
import { filesOf, restartAppliance, startAppliance } from '../appliance.ts';
import { apps } from '../apps.ts';
import type { Measurement, Scope, Side } from '../measurement.ts';

const large = { releases: 1000, apps: 100 };

/** Deploy on a server with many apps, of an app with many past releases. */
export const scaleMeasurement: Measurement = {
  name: 'scale',
  rounds: 9,
  quickRounds: 0,
  rows: [
    {
      title: `deploy with ${large.releases} past releases and ${large.apps} apps`,
      short: `deploy with ${large.releases} past releases and ${large.apps} apps`,
      unit: 'ms',
      ours: 'large',
      rival: { name: 'with 1 and 1', figure: 'small' },
      goal: { ratio: 1.1 },
    },
  ],
  async prepare(scope) {
    return [await sideOf('small', { releases: 1, apps: 1 }, scope), await sideOf('large', large, scope)];
  },
};

async function sideOf(name: string, size: typeof large, scope: Scope): Promise<Side> {
  const sluice = await startAppliance(scope, name === 'large' ? { apps: { firstPort: 31_000 } } : {});
  const files = await filesOf(apps.hello, { workers: 1 });
  for (let app = 1; app < size.apps; app += 1) await sluice.deploy(`app-${app}`, files);
  await sluice.deploy('shop', files);
  await addPastReleases(sluice, size.releases);
  // The apps start again meanwhile.
  for (let app = 1; app < size.apps; app += 1) await sluice.untilRunning(`app-${app}`);
  // The first deploy removes the oldest records.
  await sluice.deploy('shop', files);
  return async () => {
    const start = performance.now();
    await sluice.deploy('shop', files);
    return { [name]: performance.now() - start };
  };
}

/** Adds records of releases whose files are removed: so are all but the newest releases of an app. */
async function addPastReleases(sluice: Sluice, count: number): Promise<void> {
  const paths = sluice.paths.environment({ app: 'shop', environment: 'production' });
  const record = JSON.parse(await readFile(paths.release(1).record, 'utf8'));
  for (let number = 2; number <= count; number += 1) {
    const release = paths.release(number);
    await mkdir(release.records, { recursive: true, mode: 0o700 });
    await writeFile(release.record, JSON.stringify({ ...record, number, run: null }));
    await writeFile(release.buildLog, '');
  }
  await restartAppliance(sluice);
  await sluice.untilRunning('shop');
}
