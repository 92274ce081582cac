import assert from 'node:assert/strict';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { Paths } from '../../src/config/paths.ts';
import { shieldApps } from '../../src/server/shield.ts';
import { exists } from '../../src/system/fs/exists.ts';
import { temporaryDirectory } from '../support/temporary.ts';

test('a package.json is above the apps only if the home is below another package.json', async (t) => {
  const directory = await temporaryDirectory(t);
  const paths = new Paths(join(directory, 'home'));
  await mkdir(paths.apps, { recursive: true });
  const shield = join(paths.apps, 'package.json');

  await shieldApps(paths);
  assert.equal(await exists(shield), false);

  await writeFile(join(directory, 'package.json'), '{ "type": "module" }');
  await shieldApps(paths);
  assert.deepEqual(JSON.parse(await readFile(shield, 'utf8')), { private: true });

  // A file that is no longer needed is removed.
  await rm(join(directory, 'package.json'));
  await shieldApps(paths);
  assert.equal(await exists(shield), false);
});
