import assert from 'node:assert/strict';
import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { planDeploy } from '../../../src/build/plan.ts';
import { importedSources } from '../../../src/build/start-command/sources.ts';
import { temporaryDirectory } from '../../support/temporary.ts';
import { writeTree } from '../../support/tree.ts';

const machine = { nodes: { own: '26.8.2', list: async () => [] }, cores: 4 };

test('an import of a path that the system refuses counts as missing', async (t) => {
  const directory = await temporaryDirectory(t);
  const paths = ['\0x', 'あ'.repeat(150), 'loop', 'loop/x', 'known'];
  await writeTree(directory, {
    'server.js': paths.map((path) => `require('./${path}')`).join('\n'),
    'known.js': '',
  });
  await symlink('loop', join(directory, 'loop'));
  const found = [...importedSources(directory, [['server.js']])].map(({ path }) => path);
  assert.deepEqual(found, ['server.js', 'known.js']);
});

test('a directory that the system refuses is not an internal error', async (t) => {
  const directory = await temporaryDirectory(t);
  await symlink('loop', join(directory, 'loop'));
  for (const path of ['x/'.repeat(3000), 'あ'.repeat(150), 'loop']) {
    const scripts = { start: `cd ${path} && npm run serve`, serve: 'node server.js' };
    await writeTree(directory, { 'package.json': { scripts }, 'server.js': '' });
    await planDeploy(directory, machine).catch((error: unknown) =>
      assert.equal((error as Error).name, 'AppError'),
    );
  }
});
