import assert from 'node:assert/strict';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { findUser, takeRights } from '../../src/system/process/user.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const isRoot = process.getuid?.() === 0;

test('with the rights of a user, root reads only what the user may read', { skip: !isRoot }, async (t) => {
  const directory = await temporaryDirectory(t);
  await chmod(directory, 0o755);
  const [secret, open] = [join(directory, 'secret'), join(directory, 'open')];
  await writeFile(secret, 'secret', { mode: 0o600 });
  await writeFile(open, 'open', { mode: 0o644 });
  const user = findUser(({ name }) => name === 'nobody');
  assert.ok(user);
  const groups = process.getgroups?.();
  {
    using _ = takeRights(user);
    await assert.rejects(readFile(secret), { code: 'EACCES' });
    assert.equal(await readFile(open, 'utf8'), 'open');
  }
  assert.equal(await readFile(secret, 'utf8'), 'secret');
  assert.deepEqual(process.getgroups?.(), groups);
});
