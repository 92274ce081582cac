import assert from 'node:assert/strict';
import { test } from 'node:test';
import { orderViolations } from '../support/load.ts';
import { startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';
import { wholeFile } from '../support/whole-file.ts';
import { PageLoad } from './page-load.ts';
import { sourcesOf } from './sources.ts';

/**
 * Apps of frameworks, as the `create` tools generate them, with exact versions of their dependencies. Each app answers `/`
 * with its release. nitro-cluster starts processes with node:cluster, and runs in exec mode.
 */
const frameworks: { name: string; env?: Record<string, string> }[] = [
  { name: 'fastify' },
  { name: 'hono' },
  { name: 'nest' },
  { name: 'adonis', env: { HOST: 'localhost', APP_KEY: 'a key of more than sixteen characters' } },
  { name: 'sveltekit' },
  { name: 'astro' },
  { name: 'nitro-server' },
  { name: 'nitro-cluster' },
  { name: 'nuxt' },
  { name: 'next' },
];

const silent = { NEXT_TELEMETRY_DISABLED: '1', NUXT_TELEMETRY_DISABLED: '1', ASTRO_TELEMETRY_DISABLED: '1' };
const sluice = await startSluice(wholeFile, { check: true });

for (const { name, env = {} } of frameworks) {
  test(`an app of ${name} loses no request while it is restarted and deployed under load`, async (t) => {
    const files = await sourcesOf(name);
    await sluice.call('PATCH', `/v1/apps/${name}/env`, { ...silent, ...env });
    const { number: first } = await sluice.deploy(name, files);
    const load = new PageLoad((await sluice.status(name)).port);
    t.after(async () => {
      await load.stop();
      await sluice.call('POST', `/v1/apps/${name}/stop`);
    });
    const answers = (release: number) => {
      const before = load.answeredBy(release);
      return waitFor(() => load.answeredBy(release) > before + 20, { what: `answers of release ${release}` });
    };
    await answers(first);
    await sluice.call('POST', `/v1/apps/${name}/restart`);
    await answers(first);
    const { number: second } = await sluice.deploy(name, files);
    await answers(second);
    await sluice.call('POST', `/v1/apps/${name}/restart`);
    await answers(second);
    const { samples, lost } = await load.stop();
    t.diagnostic(`${samples.length} answers, ${lost.length} lost`);
    assert.deepEqual(lost, []);
    assert.deepEqual(orderViolations({ samples }), []);
  });
}
