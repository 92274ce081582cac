import assert from 'node:assert/strict';
import { mkdir, readdir, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { provideTool, type RunCommand } from '../../src/build/install/tools.ts';
import { baseEnvironment } from '../../src/build/variables.ts';
import { runJob } from '../support/jobs.ts';
import { temporaryDirectory } from '../support/temporary.ts';

/** A small package with a program. */
const tool = { package: 'semver', program: 'semver', version: '7.7.2' };

function npm(calls: string[][] = []): RunCommand {
  return async (argv, directory) => {
    calls.push(argv);
    const job = { argv, directory, env: baseEnvironment(), user: null, lowPriority: true, timeout: 60_000 };
    const { code } = await runJob(job, () => undefined, new AbortController().signal);
    if (code !== 0) throw new Error(`status ${code}`);
  };
}

test('a tool is installed once', async (t) => {
  const cache = join(await temporaryDirectory(t), 'tools');
  const calls: string[][] = [];
  const bin = await provideTool(tool, cache, npm(calls));
  assert.equal(await provideTool(tool, cache, npm(calls)), bin);
  assert.equal(calls.length, 1);
  assert.deepEqual(await readdir(bin), ['semver']);
  assert.deepEqual(await readdir(cache), ['semver@7.7.2']);
});

test('two builds can install the same tool at once', async (t) => {
  const cache = await temporaryDirectory(t);
  const bins = await Promise.all([provideTool(tool, cache, npm()), provideTool(tool, cache, npm())]);
  assert.equal(bins[0], bins[1]);
  assert.deepEqual(await readdir(cache), ['semver@7.7.2']);
});

test('a failed install leaves nothing in the cache', async (t) => {
  const cache = await temporaryDirectory(t);
  const failing: RunCommand = async (_argv, directory) => {
    await mkdir(join(directory, 'node_modules'));
    throw new Error('the network is gone');
  };
  await assert.rejects(provideTool(tool, cache, failing), { message: 'the network is gone' });
  assert.deepEqual(await readdir(cache), []);
});

test('the directory of a killed install is removed, that of a running install is not', async (t) => {
  const cache = await temporaryDirectory(t);
  await mkdir(join(cache, '.installing-1-old'));
  await writeFile(join(cache, '.installing-1-old/package.json'), '{}');
  const yesterday = new Date(Date.now() - 86_400_000);
  await utimes(join(cache, '.installing-1-old'), yesterday, yesterday);
  await mkdir(join(cache, '.installing-2-young'));
  await provideTool(tool, cache, npm());
  assert.deepEqual((await readdir(cache)).sort(), ['.installing-2-young', 'semver@7.7.2']);
});
