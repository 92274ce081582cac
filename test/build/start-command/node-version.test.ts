import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { nodeVersionNotices } from '../../../src/build/start-command/notices.ts';
import { includesVersion } from '../../../src/build/start-command/semver-range.ts';
import { writeTree } from '../../support/builds.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

async function messages(t: TestContext, files: Record<string, unknown>): Promise<string[]> {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, files);
  return (await nodeVersionNotices(directory, '26.10.0')).map(({ message }) => message);
}

test('an app that asks for another Node.js is told which one it gets', async (t) => {
  assert.deepEqual(
    await messages(t, { 'package.json': { engines: { node: '20.x' } }, '.nvmrc': 'v20.11.0\n' }),
    [
      '"engines" in package.json asks for Node.js 20.x, .nvmrc names Node.js v20.11.0: it is built and run with Node.js 26.10.0',
    ],
  );
  assert.deepEqual(await messages(t, { '.node-version': '22' }), [
    '.node-version names Node.js 22: it is built and run with Node.js 26.10.0',
  ]);
});

test('an app that this Node.js will do for, or that says nothing we understand, is told nothing', async (t) => {
  assert.deepEqual(await messages(t, { 'package.json': { engines: { node: '>=20' } }, '.nvmrc': '26' }), []);
  assert.deepEqual(await messages(t, { 'package.json': { engines: ['node >= 4'] }, '.nvmrc': 'lts/*' }), []);
  assert.deepEqual(await messages(t, { 'package.json': { engines: { npm: '5' } }, '.nvmrc/x': '' }), []);
});

const ranges: [string, boolean | undefined][] = [
  ['26', true],
  ['26.x', true],
  ['26.10', true],
  ['26.9', false],
  ['v26.10.0', true],
  ['26.10.1', false],
  ['*', true],
  ['', true],
  ['>=18', true],
  ['>= 18.0.0', true],
  ['>=18 <26', false],
  ['>=18 <27', true],
  ['>=18.0.0 <=26', true],
  ['>26', false],
  ['>26.9', true],
  ['<26.10.0', false],
  ['^26.2.0', true],
  ['^26.11.0', false],
  ['^0.10.0', false],
  ['^20 || ^22', false],
  ['^20||>=22', true],
  ['~26.10', true],
  ['~26.9.1', false],
  ['~26', true],
  ['18 - 24', false],
  ['18.0.0 - 26', true],
  ['>=27.0.0-rc.1', false],
  ['lts', undefined],
  ['20 or newer', undefined],
];

for (const [range, included] of ranges) {
  test(`the range "${range}" ${included === undefined ? 'is none we can read' : `${included ? 'includes' : 'leaves out'} 26.10.0`}`, () => {
    assert.equal(includesVersion(range, '26.10.0'), included);
  });
}
