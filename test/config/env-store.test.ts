import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdir, readFile, rename, rmdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadVariableSet, saveVariableSet, secretValues, withChanges } from '../../src/apps/variable-set.ts';
import { loadVariables, saveVariables } from '../../src/apps/variables.ts';
import { EnvironmentPaths } from '../../src/config/paths.ts';
import type { AppError } from '../../src/errors/app-error.ts';
import { describeError } from '../../src/system/log/log.ts';
import { temporaryDirectory } from '../support/temporary.ts';

test('variables are stored unchanged, and only their owner can read them', async (t) => {
  const path = join(await temporaryDirectory(t), 'env.json');
  assert.deepEqual(await loadVariables(path), {});
  const env = { DATABASE_URL: 'postgres://ü@host/db', _empty: '', lines: 'one\ntwo', constructor_: 'x' };
  await saveVariables(path, env);
  assert.deepEqual(await loadVariables(path), env);
  assert.equal((await stat(path)).mode & 0o777, 0o600);
});

test('all faults are listed at once without values, and the file does not change', async (t) => {
  const path = join(await temporaryDirectory(t), 'env.json');
  await saveVariables(path, { GOOD: 'yes' });
  const faulty = {
    '1A': 'secret',
    'A-B': 'secret',
    PORT: '1',
    SLUICE_X: '2',
    N: 3,
    NUL: 'sec\0ret',
    LONG: 'x'.repeat(131_100),
  };
  await assert.rejects(saveVariables(path, faulty as unknown as Record<string, string>), (error: Error) => {
    assert.deepEqual(error.message.split('\n  '), [
      'the new set of variables has 7 faults:',
      '"1A": not a valid name',
      '"A-B": not a valid name',
      'PORT: set by Sluice itself',
      'SLUICE_X: set by Sluice itself',
      'N: text is expected, not number',
      'NUL: a value cannot contain a NUL character',
      'LONG: 128 KiB; one variable can have 128 KiB',
    ]);
    return (error as { code?: string }).code === 'invalid_env';
  });
  assert.deepEqual(await loadVariables(path), { GOOD: 'yes' });
  const many = Object.fromEntries(
    Array.from({ length: 11 }, (_, index) => [`V${index}`, 'x'.repeat(100_000)]),
  );
  await assert.rejects(saveVariables(path, many), { code: 'invalid_env', message: /all together: 1\.0 MiB/ });
});

test('the error of a damaged file names the file', async (t) => {
  const path = join(await temporaryDirectory(t), 'env.json');
  await writeFile(path, '["A"]');
  await assert.rejects(loadVariables(path), { code: 'invalid_env', message: /env\.json has 1 fault:/ });
  assert.equal(await readFile(path, 'utf8'), '["A"]');
});

test('a process can start with all accepted variables', async (t) => {
  const path = join(await temporaryDirectory(t), 'env.json');
  const most = Object.fromEntries(
    Array.from({ length: 8 }, (_, index) => [`V${index}`, 'x'.repeat(131_000)]),
  );
  await saveVariables(path, { ...most, V0: 'x'.repeat(128 * 1024 - 4) });
  const { status, error } = spawnSync('/bin/true', { env: await loadVariables(path) });
  assert.equal(status, 0, String(error));
});

test('the error of a damaged file contains none of its text', async (t) => {
  const path = join(await temporaryDirectory(t), 'env.json');
  await writeFile(path, '{"A": hunter2}');
  await assert.rejects(loadVariables(path), (error: Error) => {
    assert.deepEqual([(error as AppError).code, error.message], ['invalid_env', `${path} is not valid JSON`]);
    assert.doesNotMatch(describeError(error), /hunter2/);
    return true;
  });
});

test('a variable that Sluice sets is rejected with its own hint', async () => {
  await assert.rejects(saveVariables('/nonexistent/env.json', { PORT: '1' }), {
    code: 'invalid_env',
    hint: /^Sluice sets PORT/,
  });
});

test('a change of kinds that is interrupted leaves each variable with its old or its new value', async (t) => {
  const paths = new EnvironmentPaths(await temporaryDirectory(t));
  const by = { by: 'test', at: new Date(0) };
  const none = { app: {}, build: {}, facts: {} };
  const first = withChanges(none, { TOKEN: { value: 'of-builds', build: true }, WORD: 'of-the-app' }, by);
  await saveVariableSet(paths, none, first);
  assert.deepEqual(await loadVariableSet(paths), first);
  // The file of the app's variables cannot be replaced: the change stops before it.
  await rename(paths.env, `${paths.env}.aside`);
  await mkdir(paths.env);
  const second = withChanges(
    first,
    { TOKEN: 'of-the-app-now', WORD: { value: 'of-builds-now', build: true } },
    by,
  );
  await assert.rejects(saveVariableSet(paths, first, second), { code: 'EISDIR' });
  await rmdir(paths.env);
  await rename(`${paths.env}.aside`, paths.env);
  const { app, build } = await loadVariableSet(paths);
  assert.deepEqual([app, build], [{ WORD: 'of-the-app' }, { TOKEN: 'of-builds' }]);
});

test('a change of build-only variables does not write the variables of the app', async (t) => {
  const paths = new EnvironmentPaths(await temporaryDirectory(t));
  const by = { by: 'test', at: new Date(0) };
  const none = { app: {}, build: {}, facts: {} };
  await saveVariableSet(paths, none, withChanges(none, { TOKEN: { value: 'of-builds', build: true } }, by));
  await assert.rejects(stat(paths.env), { code: 'ENOENT' });
  assert.equal((await stat(paths.variableDetails)).mode & 0o777, 0o600);
  assert.deepEqual(secretValues(await loadVariableSet(paths)), ['of-builds']);
});
