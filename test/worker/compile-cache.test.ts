import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { temporaryDirectory } from '../support/temporary.ts';

const cache = fileURLToPath(new URL('../../src/worker/compile-cache.cjs', import.meta.url));

/** Runs a program with the cache of a release, and lets it save its code. @returns the directory that Node.js uses */
function run(release: string): string {
  const program = `
    const { useCompileCache, saveCompiled } = require(${JSON.stringify(cache)});
    useCompileCache(${JSON.stringify(release)});
    require(${JSON.stringify(join(release, 'app.js'))});
    saveCompiled();
    console.log(require('node:module').getCompileCacheDir() ?? 'none');
  `;
  const { NODE_COMPILE_CACHE: _, ...env } = process.env;
  return execFileSync(process.execPath, ['-e', program], { env, encoding: 'utf8' }).trim();
}

function makeRelease(directory: string, target: string): string {
  const release = join(directory, 'releases/1');
  mkdirSync(release, { recursive: true });
  writeFileSync(join(release, 'app.js'), 'exports.text = 1;');
  symlinkSync(target, join(release, '.sluice-compiled'));
  return release;
}

test('a cache of more than 100 MB is emptied before code is saved, also beside a stray file', async (t) => {
  const directory = await temporaryDirectory(t);
  const release = makeRelease(directory, '../../cache/compiled');
  const compiled = join(directory, 'cache/compiled');
  mkdirSync(join(compiled, 'v1'), { recursive: true });
  writeFileSync(join(compiled, 'stray'), '');
  const bundle = join(compiled, 'v1/bundle');
  writeFileSync(bundle, '');
  truncateSync(bundle, 99 * 1024 ** 2);
  const [version = ''] = run(release).split('/').slice(-1);
  assert.ok(existsSync(bundle));
  assert.equal(readdirSync(join(compiled, version)).length, 1);
  truncateSync(bundle, 101 * 1024 ** 2);
  run(release);
  assert.deepEqual(readdirSync(compiled), [version]);
});

test('a link of an upload to another directory is not followed', async (t) => {
  const directory = await temporaryDirectory(t);
  assert.equal(run(makeRelease(directory, '../../shared')), 'none');
  assert.ok(!existsSync(join(directory, 'shared')));
});

test('the next boot of a release looks for no file of its packages again, and another release does', async (t) => {
  const directory = await temporaryDirectory(t);
  const release = makeRelease(directory, '../../cache/compiled');
  const fill = (root: string) => {
    mkdirSync(join(root, 'node_modules/found/part'), { recursive: true });
    mkdirSync(join(root, 'own'), { recursive: true });
    writeFileSync(join(root, 'app.js'), "console.log(require('found'), require('./own'));");
    writeFileSync(join(root, 'own/index.js'), "module.exports = 'own first';");
    writeFileSync(join(root, 'node_modules/found/index.js'), "module.exports = require('./part');");
    writeFileSync(join(root, 'node_modules/found/part/index.js'), "module.exports = 'part first';");
  };
  const fillLater = (root: string) => {
    writeFileSync(join(root, 'own.js'), "module.exports = 'own later';");
    writeFileSync(join(root, 'node_modules/found/part.js'), "module.exports = 'part later';");
  };
  const printed = (root: string) => run(root).split('\n')[0];
  fill(release);
  assert.equal(printed(release), 'part first own first');
  fillLater(release);
  assert.equal(printed(release), 'part first own later');

  const next = join(directory, 'releases/2');
  mkdirSync(next);
  symlinkSync('../../cache/compiled', join(next, '.sluice-compiled'));
  fill(next);
  fillLater(next);
  assert.equal(printed(next), 'part later own later');
  assert.equal(printed(release), 'part later own later');

  const [version = ''] = readdirSync(join(directory, 'cache/compiled'));
  writeFileSync(join(directory, 'cache/compiled', version, 'resolutions.json'), '{"id":');
  assert.equal(printed(next), 'part later own later');
});
