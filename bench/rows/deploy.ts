import { randomBytes } from 'node:crypto';
import { pack } from '../../test/support/pack.ts';
import { filesOf, startAppliance } from '../appliance.ts';
import { apps } from '../apps.ts';
import { bootTimes } from '../boot-time.ts';
import { median } from '../figures.ts';
import type { Measurement } from '../measurement.ts';

const workers = 2;

/** Time of a deploy of a 1 MB app over the API, without the boots of the app. */
export const deployMeasurement: Measurement = {
  name: 'deploy',
  rounds: 9,
  quickRounds: 3,
  rows: [
    {
      title: `deploy of 1 MB without packages, beyond the boots of ${workers} workers`,
      unit: 'ms',
      ours: 'deploy',
      goal: { figure: 300 },
    },
  ],
  async prepare(scope) {
    const sluice = await startAppliance(scope);
    const body = new Uint8Array(await pack(await largeApp()));
    const upload = async () => {
      const response = await sluice.request('/v1/apps/shop/releases', { method: 'POST', body });
      const answer = await response.text();
      if (response.status !== 201) throw new Error(answer);
    };
    await upload();
    const boots = workers * median(await bootTimes());
    return [
      async () => {
        const start = performance.now();
        await upload();
        return { deploy: performance.now() - start - boots };
      },
    ];
  },
};

async function largeApp(): Promise<Record<string, unknown>> {
  // As base64, which compresses to about what it stands for.
  const data = () => `// ${randomBytes(10_000).toString('base64')}`;
  const modules = Array.from({ length: 100 }, (_, file) => [`lib/${file}.js`, data()]);
  return { ...(await filesOf(apps.hello, { workers })), ...Object.fromEntries(modules) };
}
