import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unreadFilesNotices } from '../../src/build/unread-files.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { type Files, writeTree } from '../support/tree.ts';

const environment = 'Sluice does not set the variables in .env';

const cases: [claim: string, files: Files, messages: string[]][] = [
  ['an app without such files', { 'package.json': {} }, []],
  ['a committed .env', { '.env': 'GREETING=hello\n' }, [environment]],
  ['a .env that dotenv reads', { '.env': '', 'package.json': { dependencies: { dotenv: '16' } } }, []],
  [
    'a .env that Node.js reads',
    { '.env': '', 'package.json': { scripts: { start: 'node --env-file=.env server.js' } } },
    [],
  ],
  ['a .dockerignore', { '.dockerignore': 'docs\n' }, ['Sluice does not read .dockerignore']],
  [
    'both ignore files',
    { '.dockerignore': '', '.slugignore': '' },
    ['Sluice does not read .dockerignore and .slugignore'],
  ],
];

test('the notice about .env names only the variables that Sluice does not set', async (t) => {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, { '.env': 'GREETING=hello\nLEVEL=3\nPORT=3000\n' });
  const messages = async (variables: Record<string, string>) =>
    (await unreadFilesNotices(directory, variables)).map(({ message }) => message);
  assert.deepEqual(await messages({ LEVEL: '1' }), ['Sluice does not set GREETING from .env']);
  assert.deepEqual(await messages({ LEVEL: '1', GREETING: 'hi' }), []);
});

for (const [claim, files, messages] of cases) {
  test(`notices about files that Sluice does not read: ${claim}`, async (t) => {
    const directory = await temporaryDirectory(t);
    await writeTree(directory, files);
    const notices = await unreadFilesNotices(directory);
    assert.deepEqual(
      notices.map(({ message }) => message),
      messages,
    );
    assert.ok(notices.every(({ hint }) => hint !== ''));
  });
}
