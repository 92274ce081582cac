import assert from 'node:assert/strict';
import { readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';
import { wholeFile } from '../support/whole-file.ts';

const sluice = await startSluice(wholeFile);

/** App that answers with the directory of its compile cache. Node.js prints each use of the cache. */
const app = (text: string, settings: Record<string, unknown> = {}) => ({
  'server.js': `
    const { getCompileCacheDir } = require('node:module');
    require('./same.js');
    require('node:http')
      .createServer((request, response) => response.end(String(getCompileCacheDir?.())))
      .listen(process.env.PORT);
    // ${text}
  `,
  'same.js': 'exports.same = 1;',
  'sluice.json': {
    workers: 1,
    ...settings,
    env: { NODE_DEBUG_NATIVE: 'COMPILE_CACHE', ...Object(settings['env']) },
  },
});

const environment = (name: string) => join(sluice.home, 'apps', name, 'production');

/** Returns the names of the entries, and the times of their last changes. */
async function entries(name: string): Promise<Map<string, number>> {
  const compiled = join(environment(name), 'cache', 'compiled');
  const found = new Map<string, number>();
  for (const version of await readdir(compiled).catch(() => []))
    for (const entry of await readdir(join(compiled, version)))
      found.set(entry, (await stat(join(compiled, version, entry))).mtimeMs);
  return found;
}

/** Returns the modules of a release that Node.js took from the cache, in the order of the log. */
async function taken(name: string, release: number): Promise<string[]> {
  const answer = await sluice.request(`/v1/apps/${name}/logs?lines=10000&release=${release}`);
  const pattern = /reading cache from .* for CommonJS .*\/([^/]+\.js)\.\.\..* success/g;
  return [...(await answer.text()).matchAll(pattern)].map(([, module]) => String(module));
}

test('the next boot takes compiled code from the disk: of a restart, and of a release with the same module', async () => {
  const first = await sluice.deploy('shop', app('first'));
  const [compiled] = await readdir(join(environment('shop'), 'cache', 'compiled'));
  const { url } = first;
  assert.equal(
    await (await fetch(url)).text(),
    join(environment('shop'), 'releases', '1', '.sluice-compiled', compiled ?? ''),
  );
  const before = await entries('shop');
  assert.equal(before.size, 2);
  await sluice.request('/v1/apps/shop/restart', { method: 'POST' });
  await waitFor(async () => (await taken('shop', 1)).includes('server.js'));
  await sluice.deploy('shop', app('second'));
  await waitFor(async () => (await taken('shop', 2)).length > 0);
  assert.deepEqual(await taken('shop', 2), ['same.js']);
  const after = await entries('shop');
  assert.deepEqual([...after.keys()].sort(), [...before.keys()].sort());
  const changed = [...after].filter(([name, at]) => before.get(name) !== at);
  assert.equal(changed.length, 1);
});

test('a damaged cache changes nothing, and without a directory the app runs without a cache', async () => {
  await sluice.deploy('odd', app('first'));
  const compiled = join(environment('odd'), 'cache', 'compiled');
  const [version = ''] = await readdir(compiled);
  for (const entry of await readdir(join(compiled, version)))
    await writeFile(join(compiled, version, entry), 'x');
  const second = await sluice.deploy('odd', app('first'));
  assert.match(await (await fetch(second.url)).text(), /\.sluice-compiled/);
  assert.deepEqual(await taken('odd', 2), []);
  await rm(compiled, { recursive: true });
  await writeFile(compiled, 'a file');
  const third = await sluice.deploy('odd', app('first'));
  assert.equal(await (await fetch(third.url)).text(), 'undefined');
});

test('variables of the app choose another cache, or none', async () => {
  const own = join(sluice.home, 'own');
  const chosen = await sluice.deploy('own', app('own', { env: { NODE_COMPILE_CACHE: own } }));
  assert.match(await (await fetch(chosen.url)).text(), new RegExp(`^${own}`));
  const none = await sluice.deploy('none', app('none', { env: { NODE_DISABLE_COMPILE_CACHE: '1' } }));
  assert.equal(await (await fetch(none.url)).text(), 'undefined');
  assert.deepEqual([(await entries('own')).size, (await entries('none')).size], [0, 0]);
});

test('in exec mode, the processes of the command use the cache', async () => {
  const release = await sluice.deploy('shell', {
    ...app('shell', { start: 'sh start.sh' }),
    'start.sh': 'node server.js',
  });
  assert.match(await (await fetch(release.url)).text(), /\.sluice-compiled/);
  await waitFor(async () => (await entries('shell')).size >= 2);
});
