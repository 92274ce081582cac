import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fetchText } from '../support/http.ts';
import { startSluice } from '../support/server.ts';
import { untilRemoved } from '../support/tree.ts';

const quick = { settleTime: '20ms' };

/** App whose build writes a site with Vite's layout. */
function builtSite(text: string) {
  return {
    'package.json': {
      private: true,
      scripts: { dev: 'vite', build: 'node build.js', preview: 'vite preview' },
    },
    'sluice.json': quick,
    'build.js': `
      const fs = require('node:fs');
      fs.mkdirSync('dist/assets', { recursive: true });
      fs.writeFileSync('dist/index.html', '<script src="/assets/index-${text}.js"></script>');
      fs.writeFileSync('dist/assets/index-${text}.js', '${text}');
    `,
  };
}

test('static sites', async (t) => {
  const sluice = await startSluice(t);
  const portOf = async (app: string) => Number(new URL((await sluice.status(app)).url).port);

  await t.test('plain HTML goes live, with everything that caches and downloads need', async () => {
    await sluice.deploy('plain', {
      'index.html': 'home',
      '404.html': 'nothing here',
      'about.html': 'about',
      'film.bin': '0123456789',
      '.secret': 'x',
      'sluice.json': quick,
    });
    const port = await portOf('plain');
    const home = await fetchText(port);
    assert.deepEqual([home.status, home.body, home.headers['cache-control']], [200, 'home', 'no-cache']);
    const condition = { 'if-none-match': home.headers.etag ?? '' };
    assert.equal((await fetchText(port, '/', { headers: condition })).status, 304);
    const part = await fetchText(port, '/film.bin', { headers: { range: 'bytes=-3' } });
    assert.deepEqual([part.status, part.body], [206, '789']);
    assert.equal((await fetchText(port, '/about')).body, 'about');
    for (const path of ['/nowhere', '/.secret', '/sluice.json']) {
      const { status, body } = await fetchText(port, path);
      assert.deepEqual([status, body], [404, 'nothing here'], path);
    }
    const { workers } = await sluice.status('plain');
    assert.equal(workers.length, 1);
  });

  await t.test('a build without a start command goes live as a single-page app', async () => {
    await sluice.deploy('spa', builtSite('AbC12xyz'));
    const port = await portOf('spa');
    const route = await fetchText(port, '/users/7', { headers: { accept: 'text/html' } });
    assert.deepEqual([route.status, route.body], [200, '<script src="/assets/index-AbC12xyz.js"></script>']);
    const asset = await fetchText(port, '/assets/index-AbC12xyz.js');
    assert.equal(asset.headers['cache-control'], 'public, max-age=31536000, immutable');
    const { directory } = sluice.paths.environment({ app: 'spa', environment: 'production' }).release(1);
    const log = await readFile(join(directory, '.sluice/build.log'), 'utf8');
    assert.match(log, /^serves dist as a single-page app \(Vite\), in 1 worker$/m);
  });

  await t.test('a site without index.html is healthy', async () => {
    const { error } = await sluice.deploy('files', {
      'files/a.txt': 'a',
      'sluice.json': { ...quick, static: 'files' },
    });
    assert.equal(error, null);
    assert.equal(await sluice.get('files', '/a.txt'), 'a');
  });

  await t.test('hashed files stay reachable as long as a release that has built them', async () => {
    const statuses = async (...names: string[]) => {
      const port = await portOf('skew');
      const answers = names.map((name) => fetchText(port, `/assets/index-${name}.js`));
      return (await Promise.all(answers)).map(({ status }) => status);
    };
    const settings = { 'sluice.json': { ...quick, keepReleases: 2 } };
    await sluice.deploy('skew', { ...builtSite('OneOne1x'), ...settings });
    await sluice.deploy('skew', { ...builtSite('TwoTwo2x'), ...settings });
    assert.deepEqual(await statuses('OneOne1x', 'TwoTwo2x'), [200, 200]);
    // A release that is never live keeps nothing, and takes nothing away.
    const broken = {
      ...builtSite('BadBad0x'),
      'sluice.json': { ...quick, keepReleases: 2, health: { status: '418' }, bootTimeout: '500ms' },
    };
    await assert.rejects(sluice.deploy('skew', broken));
    await sluice.deploy('skew', { ...builtSite('FourFo4x'), ...settings });
    assert.deepEqual(await statuses('OneOne1x', 'TwoTwo2x', 'BadBad0x', 'FourFo4x'), [404, 200, 404, 200]);
    // The release with the first name of the file is removed now.
    const target = sluice.paths.environment({ app: 'skew', environment: 'production' });
    await untilRemoved(target.release(1).directory);
    assert.equal(await sluice.get('skew', '/assets/index-TwoTwo2x.js'), 'TwoTwo2x');
    const log = await readFile(target.release(4).buildLog, 'utf8');
    assert.match(log, /^keeps 1 file of earlier releases for pages that are open in browsers$/m);
  });

  await t.test(
    'a server that sends only files of its own build sends those of the release before, too',
    async () => {
      const site = (name: string) => ({
        [`.output/public/_nuxt/${name}.js`]: name,
        '.output/server/index.mjs': `
        import { createServer } from 'node:http';
        createServer((request, response) => {
          response.statusCode = request.url === '/_nuxt/${name}.js' ? 200 : 404;
          response.end('${name} ' + process.env.SLUICE_EARLIER_ASSETS + process.execArgv);
        }).listen(process.env.PORT);`,
        'sluice.json': { ...quick, start: 'node .output/server/index.mjs', workers: 1 },
      });
      await sluice.deploy('nitro', site('one'));
      await sluice.deploy('nitro', site('two'));
      const port = await portOf('nitro');
      const old = await fetchText(port, '/_nuxt/one.js?v=1');
      assert.deepEqual(
        [old.status, old.body, old.headers['content-type']],
        [200, 'one', 'text/javascript; charset=utf-8'],
      );
      assert.match(old.headers['cache-control'] ?? '', /immutable/);
      for (const path of [
        '/_nuxt/two.js',
        '/_nuxt/gone.js',
        '/_nuxt/..%2f..%2fserver/index.mjs',
        '/_nuxt/%zz',
        '/',
      ]) {
        const { status, body } = await fetchText(port, path);
        assert.deepEqual([status, body], [path === '/_nuxt/two.js' ? 200 : 404, 'two undefined'], path);
      }
    },
  );
});
