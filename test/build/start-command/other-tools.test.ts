import assert from 'node:assert/strict';
import { test } from 'node:test';
import { otherToolsNotices } from '../../../src/build/start-command/notices.ts';
import { writeTree } from '../../support/builds.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

test('a notice names each configuration file of another tool', async (t) => {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, { 'package.json': {}, 'server.js': '' });
  assert.deepEqual(await otherToolsNotices(directory), []);
  await writeTree(directory, { 'ecosystem.config.cjs': '' });
  const notices = await otherToolsNotices(directory);
  assert.deepEqual(
    notices.map(({ message }) => message),
    ['Sluice does not read ecosystem.config.cjs'],
  );
  assert.match(notices[0]?.hint ?? '', /"processes"/);
});
