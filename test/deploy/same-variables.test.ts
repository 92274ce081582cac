import assert from 'node:assert/strict';
import { utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Environment } from '../../src/apps/environment.ts';
import { hasItsVariables } from '../../src/deploy/same-variables.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const at = (hour: number) => `2026-01-01T0${hour}:00:00.000Z`;

test('a release has its variables unless they were changed since the next release went live', async (t) => {
  const directory = await temporaryDirectory(t);
  const paths = { env: join(directory, 'env.json'), variableDetails: join(directory, 'env-details.json') };
  const lives = [at(5), at(3), null, at(1)];
  const store = { outlines: async () => lives.map((liveAt) => ({ liveAt })) };
  const environment = { paths, store } as unknown as Environment;
  const having = async () =>
    Promise.all([at(1), at(3), at(5), null].map((liveAt) => hasItsVariables(environment, { liveAt })));
  assert.deepEqual(await having(), [true, true, true, false]);
  for (const [file, changed, expected] of [
    [paths.env, 2, [true, true, true, false]],
    [paths.variableDetails, 4, [false, true, true, false]],
    [paths.env, 6, [false, false, false, false]],
  ] as const) {
    await writeFile(file, '{}');
    await utimes(file, new Date(at(changed)), new Date(at(changed)));
    assert.deepEqual(await having(), expected);
  }
});
