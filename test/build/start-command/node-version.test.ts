import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { nodeVersionNotices } from '../../../src/build/start-command/notices.ts';
import { writeTree } from '../../support/builds.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

async function messages(t: TestContext, files: Record<string, unknown>): Promise<string[]> {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, files);
  return (await nodeVersionNotices(directory, '26.10.0')).map(({ message }) => message);
}

test('an app that asks for another Node.js gets a notice', async (t) => {
  assert.deepEqual(
    await messages(t, { 'package.json': { engines: { node: '20.x' } }, '.nvmrc': 'v20.11.0\n' }),
    [
      '"engines" in package.json asks for Node.js 20.x, .nvmrc names Node.js v20.11.0: Sluice builds and runs the app with Node.js 26.10.0',
    ],
  );
  assert.deepEqual(await messages(t, { '.node-version': '22' }), [
    '.node-version names Node.js 22: Sluice builds and runs the app with Node.js 26.10.0',
  ]);
});

test('an app that asks for this Node.js, or for no known version, gets no notice', async (t) => {
  assert.deepEqual(await messages(t, { 'package.json': { engines: { node: '>=20' } }, '.nvmrc': '26' }), []);
  assert.deepEqual(await messages(t, { 'package.json': { engines: ['node >= 4'] }, '.nvmrc': 'lts/*' }), []);
  assert.deepEqual(await messages(t, { 'package.json': { engines: { npm: '5' } }, '.nvmrc/x': '' }), []);
});

test('"engines" is read as npm reads it', async (t) => {
  const isNoticed = async (node: string) =>
    (await messages(t, { 'package.json': { engines: { node } } })).length > 0;
  for (const range of ['26.x', '*', '', '>= 18.0.0', '^20||>=22', '18.0.0 - 26', 'lts', '20 or newer']) {
    assert.equal(await isNoticed(range), false, range);
  }
  for (const range of ['26.9', '>=18 <26', '^0.10.0', '^20 || ^22', '~26.9.1', '>=27.0.0-rc.1']) {
    assert.equal(await isNoticed(range), true, range);
  }
});
