import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { exists } from '../../src/system/fs/exists.ts';
import { answering } from '../support/apps.ts';
import { Checkout } from '../support/git.ts';
import { startSluice } from '../support/server.ts';
import { wholeFile } from '../support/whole-file.ts';

const sluice = await startSluice(wholeFile);
const lockfile = fileURLToPath(new URL('../fixtures/lockfiles/npm-11/package-lock.json', import.meta.url));

test('a push reuses packages, unless an option, or `sluice cache clear`, says otherwise', async (t) => {
  const checkout = await Checkout.create(t, {});
  const url = `${sluice.gitUrl('shop')}`;
  const locked = { dependencies: { ms: '2.1.3' }, devDependencies: { 'is-number': '7.0.0' } };
  await checkout.commit('One', {
    ...answering('one'),
    'package.json': {
      name: 'locked',
      version: '1.0.0',
      license: 'MIT',
      ...locked,
      scripts: { start: 'node server.js' },
    },
    'package-lock.json': await readFile(lockfile, 'utf8'),
  });
  const push = async (...options: string[]) => {
    await checkout.commit('More', { 'data.txt': String(Math.random()) });
    return (await checkout.try('push', ...options, url, 'main')).output;
  };
  const reuse = /\n {3}packages as in release \d+: package-lock\.json is unchanged\n/;
  assert.doesNotMatch(await push(), reuse);
  assert.match(await push(), reuse);
  const without = await push('-o', 'no-cache', '-o', 'other');
  assert.doesNotMatch(without, reuse);
  assert.match(without, /note: unknown push option other \(Sluice knows no-cache\)/);
  assert.match(await push(), /\n {3}packages as in release 3: /);

  const listed = await sluice.call<{ sizeBytes: number }[]>('GET', '/v1/apps/shop/cache');
  const { paths } = sluice;
  const { cache } = paths.environment({ app: 'shop', environment: 'production' });
  const [{ sizeBytes = 0 } = {}] = listed;
  const kept = {
    app: 'shop',
    environment: 'production',
    kind: 'packages',
    directory: '',
    release: 3,
    sizeBytes,
  };
  assert.deepEqual(listed, [kept]);
  assert.ok(sizeBytes > 0 && (await exists(`${cache}/kept/packages`)));
  assert.deepEqual(await sluice.call('DELETE', '/v1/apps/shop/cache'), [kept]);
  assert.ok(!(await exists(`${cache}/kept`)));
  assert.doesNotMatch(await push(), reuse);
  await checkout.commit('Failing', { 'server.js': 'process.exit(1)' });
  assert.match(await push(), /\n {3}kept packages and caches are removed: /);
  await checkout.commit('Mended', answering('two'));
  assert.doesNotMatch(await push(), reuse);
});
