import assert from 'node:assert/strict';
import { test } from 'node:test';
import { otherToolsNotices } from '../../../src/build/start-command/notices.ts';
import { writeTree } from '../../support/builds.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

test('files that other tools read are named, with what takes their place, and nothing else is', async (t) => {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, { 'package.json': {}, 'server.js': '' });
  assert.deepEqual(await otherToolsNotices(directory), []);
  await writeTree(directory, {
    Procfile: 'web: node server.js\nrelease: node migrate.js\n',
    'ecosystem.config.cjs': '',
  });
  const notices = await otherToolsNotices(directory);
  assert.deepEqual(
    notices.map(({ message }) => message),
    ['Procfile is not read in this version', 'ecosystem.config.cjs is not read in this version'],
  );
  assert.match(notices[0]?.hint ?? '', /"release" is "preSwitch"/);
});
