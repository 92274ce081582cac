import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readManifest } from '../../src/config/package-manifest.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { writeTree } from '../support/tree.ts';

test('values of package.json that npm ignores are ignored', async (t) => {
  const directory = await temporaryDirectory(t);
  const read = async (manifest: unknown) => {
    await writeTree(directory, { 'package.json': manifest });
    return readManifest(directory);
  };
  const commented = await read({
    main: ['server.js'],
    scripts: { '//': ['a comment'], start: 'node server.js', build: null },
    dependencies: { '//': { why: 'a comment' }, ms: '^2.0.0' },
    devDependencies: null,
    peerDependencies: 'none',
    engines: ['node >= 4'],
    packageManager: { name: 'npm' },
  });
  assert.deepEqual(commented?.scripts, { start: 'node server.js' });
  assert.deepEqual(commented?.dependencies, { ms: '^2.0.0' });
  assert.deepEqual([commented?.devDependencies, commented?.peerDependencies], [{}, {}]);
  assert.deepEqual(
    [commented?.main, commented?.engines?.node, commented?.packageManager],
    [undefined, undefined, undefined],
  );
  assert.deepEqual((await read({ scripts: 'none' }))?.scripts, {});
});
