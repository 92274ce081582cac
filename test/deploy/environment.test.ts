import assert from 'node:assert/strict';
import { stat } from 'node:fs/promises';
import { test } from 'node:test';
import type { VariablesChange } from '../../src/deploy/change-variables.ts';
import { answering, running } from '../support/apps.ts';
import { startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';

const tells = running(`
  const { PORT, NODE_ENV, GREETING = 'none', SLUICE_APP, SLUICE_ENVIRONMENT, SLUICE_TOKEN } = process.env;
  if (GREETING === 'deadly') throw new Error('I cannot live with ' + GREETING);
  if (process.env.FATAL) throw new Error('died with ' + process.env.SECRET);
  console.log('the secret is ' + process.env.SECRET);
  require('node:http')
    .createServer((q, r) => r.end([NODE_ENV, GREETING, SLUICE_APP, SLUICE_ENVIRONMENT, SLUICE_TOKEN].join(' ')))
    .listen(PORT);
`);

test('variables and environments', async (t) => {
  const sluice = await startSluice(t, { env: { SLUICE_TOKEN: 'of-the-server' } });
  const change = (changes: Record<string, string | null>, query = '') =>
    sluice.call<VariablesChange>('PATCH', `/v1/apps/shop/env${query}`, changes);

  await t.test('variables can be set before the first deploy', async () => {
    await change({ GREETING: 'hello', SECRET: 'open-sesame' });
    await sluice.deploy('shop', tells);
    assert.equal(await sluice.get('shop'), 'production hello shop production ');
  });

  await t.test('only the owner can read the file of variables', async () => {
    const { env } = sluice.paths.environment({ app: 'shop', environment: 'production' });
    assert.equal((await stat(env)).mode & 0o777, 0o600);
  });

  await t.test('a change switches to a new generation of the same release', async () => {
    const before = await sluice.status('shop');
    const { changed } = await change({ GREETING: 'good day', NODE_ENV: 'staging' });
    assert.deepEqual(changed, ['GREETING', 'NODE_ENV']);
    assert.deepEqual(await sluice.call('GET', '/v1/apps/shop/env'), {
      GREETING: 'good day',
      NODE_ENV: 'staging',
      SECRET: 'open-sesame',
    });
    assert.equal(await sluice.get('shop'), 'staging good day shop production ');
    const after = await sluice.status('shop');
    assert.equal(after.release, before.release);
  });

  await t.test('a null removes a variable', async () => {
    await change({ NODE_ENV: null });
    assert.equal(await sluice.get('shop'), 'production good day shop production ');
  });

  await t.test('a change that the app does not boot with is not kept', async () => {
    await assert.rejects(change({ GREETING: 'deadly', OTHER: 'in-vain' }), { code: 'boot_exited' });
    const kept = await sluice.call<Record<string, string>>('GET', '/v1/apps/shop/env');
    assert.deepEqual(kept, { GREETING: 'good day', SECRET: 'open-sesame' });
    assert.equal(await sluice.get('shop'), 'production good day shop production ');
  });

  await t.test('without a restart a change is kept for the next boot', async () => {
    await change({ GREETING: 'later' }, '?restart=false');
    assert.equal(await sluice.get('shop'), 'production good day shop production ');
    await sluice.call('POST', '/v1/apps/shop/restart');
    assert.equal(await sluice.get('shop'), 'production later shop production ');
  });

  await t.test('invalid and reserved names are refused, all at once', async () => {
    await assert.rejects(change({ '1ST': 'x', PORT: '80' }), (error: Error) => {
      assert.match(error.message, /2 faults/);
      assert.match(error.message, /PORT: set by Sluice/);
      return true;
    });
    await assert.rejects(sluice.call('PATCH', '/v1/apps/typo/env', { PORT: '80' }), { code: 'invalid_env' });
    await assert.rejects(sluice.status('typo'), { code: 'app_not_found' });
  });

  await t.test('no log has the values of variables', async () => {
    const lines = await waitFor(
      async () => {
        const text = await (await sluice.request('/v1/apps/shop/logs')).text();
        return text.includes('the secret is') && text;
      },
      { what: 'output of the app' },
    );
    assert.doesNotMatch(lines, /open-sesame/);
    const files = {
      ...answering('x'),
      'package.json': { scripts: { build: 'echo building with $SECRET', start: 'node server.js' } },
    };
    await sluice.deploy('shop', files);
    const log = await (await sluice.request('/v1/apps/shop/releases/2/log')).text();
    assert.match(log, /building with •+/);
    assert.doesNotMatch(log, /open-sesame/);
    await assert.rejects(
      sluice.deploy('shop', running(`throw new Error('cannot open with ' + process.env.SECRET)`)),
      (error: Error) => /cannot open with •+/.test(error.message),
    );
    await change({ FATAL: 'in SECRET' }, '?restart=false');
    await assert.rejects(sluice.call('POST', '/v1/apps/shop/rollback', { release: 1 }), (error: Error) =>
      /died with •+/.test(error.message),
    );
    assert.doesNotMatch(JSON.stringify(await sluice.log()), /open-sesame/);
    await change({ FATAL: null }, '?restart=false');
  });

  await t.test(
    'no log and no error has values of variables if a change or a rollback does not boot',
    async () => {
      const dies = `if (process.env.DIE) throw new Error('cannot open with ' + process.env.SECRET);`;
      await sluice.deploy('frail', running(`${dies} ${tells['server.js']}`));
      await sluice.deploy('frail', tells);
      const path = '/v1/apps/frail/env';
      await sluice.call('PATCH', `${path}?restart=false`, { SECRET: 'open-sesame', DIE: 'yes' });
      const masked = (error: Error) => /cannot open with •+/.test(error.message);
      await assert.rejects(sluice.rollback('frail'), masked);
      await sluice.call('PATCH', path, { DIE: null });
      await sluice.rollback('frail');
      await assert.rejects(sluice.call('PATCH', path, { SECRET: 'abracadabra', DIE: 'yes' }), masked);
      assert.doesNotMatch(JSON.stringify(await sluice.log()), /open-sesame|abracadabra/);
    },
  );

  await t.test('another environment has its own releases, port and variables', async () => {
    const staging = await sluice.deploy('shop', tells, 'staging');
    assert.deepEqual([staging.environment, staging.number], ['staging', 1]);
    const here = await sluice.status('shop');
    const there = await sluice.call<typeof here>('GET', '/v1/apps/shop?environment=staging');
    assert.notEqual(there.port, here.port);
    assert.equal(await (await fetch(there.url)).text(), 'staging none shop staging ');
  });
});
