import assert from 'node:assert/strict';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { Paths } from '../../src/config/paths.ts';
import { ensurePackageBoundary } from '../../src/server/package-boundary.ts';
import { exists } from '../../src/system/fs/exists.ts';
import { temporaryDirectory } from '../support/temporary.ts';

test('a package.json is above the apps only if the home is below another package.json', async (t) => {
  const directory = await temporaryDirectory(t);
  const paths = new Paths(join(directory, 'home'));
  await mkdir(paths.apps, { recursive: true });
  const boundary = join(paths.apps, 'package.json');

  await ensurePackageBoundary(paths);
  assert.equal(await exists(boundary), false);

  await writeFile(join(directory, 'package.json'), '{ "type": "module" }');
  await ensurePackageBoundary(paths);
  assert.deepEqual(JSON.parse(await readFile(boundary, 'utf8')), { private: true });

  // A file that is no longer needed is removed.
  await rm(join(directory, 'package.json'));
  await ensurePackageBoundary(paths);
  assert.equal(await exists(boundary), false);
});
