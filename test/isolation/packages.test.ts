import assert from 'node:assert/strict';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Isolated, withoutRoot } from '../support/isolated.ts';

const lockfile = fileURLToPath(new URL('../fixtures/lockfiles/npm-11/package-lock.json', import.meta.url));

/** App that changes a file of a package in place, and answers with its end. */
const server = `
const fs = require('node:fs');
fs.appendFileSync(require.resolve('ms'), '// of the app');
const end = fs.readFileSync(require.resolve('ms'), 'utf8').slice(-26);
require('node:http').createServer((_request, response) => response.end(end)).listen(process.env.PORT);
`;

test('an app with a system user keeps and reuses packages as that user (thorough)', {
  skip: withoutRoot,
  timeout: 180_000,
}, async (t) => {
  const { sluice } = await Isolated.start(t);
  const build = 'mkdir -p .turbo/cache && echo x >> .turbo/cache/x && cp .turbo/cache/x x';
  const files = {
    'package.json': {
      ...{ name: 'locked', version: '1.0.0', license: 'MIT', scripts: { start: 'node server.js', build } },
      ...{ dependencies: { ms: '2.1.3' }, devDependencies: { 'is-number': '7.0.0' } },
    },
    'package-lock.json': await readFile(lockfile, 'utf8'),
    'sluice.json': { workers: 1 },
    'server.js': server,
  };
  const first = await sluice.deploy('shop', files);
  const { number } = await sluice.deploy('shop', files);
  const log = await (await sluice.request(`/v1/apps/shop/releases/${number}/log`)).text();
  assert.match(log, /packages as in release 1: package-lock\.json is unchanged/);
  assert.match(log, /caches of the build as in release 1: \.turbo\/cache/);
  const end = await sluice.get('shop');
  assert.match(end, /[^p]\/\/ of the app$/, 'the package is as installed, without the change of release 1');
  const paths = sluice.paths.environment({ app: 'shop', environment: 'production' });
  const file = (release: number) => join(paths.release(release).directory, 'node_modules/ms/index.js');
  const [one, two] = await Promise.all([stat(file(first.number)), stat(file(number))]);
  assert.equal(one.uid, two.uid);
  assert.notEqual(one.uid, process.getuid?.());
  const kept = await stat(join(paths.home, '.cache/sluice/packages'));
  assert.deepEqual([kept.uid, kept.mode & 0o777], [one.uid, 0o700]);
  await sluice.call('DELETE', '/v1/apps/shop/cache');
  await assert.rejects(stat(join(paths.home, '.cache/sluice')), { code: 'ENOENT' });
});
