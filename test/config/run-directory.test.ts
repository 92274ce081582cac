import assert from 'node:assert/strict';
import { chmod, mkdir, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { findServer } from '../../src/client/server-address.ts';
import { Paths } from '../../src/config/paths.ts';
import { up } from '../../src/server/up.ts';
import { temporaryDirectory } from '../support/temporary.ts';

test('sockets of a long home are never in a directory of another user', async (t) => {
  const home = join(await temporaryDirectory(t), 'h'.repeat(100));
  const { run } = new Paths(home);
  t.after(() => rm(run, { recursive: true, force: true }));
  const rejected = { code: 'path_too_long', message: /is open to others/ };
  const start = () => up(home, () => assert.fail('it came up'));

  await mkdir(run, { mode: 0o700 });
  await chmod(run, 0o777);
  await assert.rejects(start(), rejected);
  await assert.rejects(findServer({ SLUICE_HOME: home }), rejected);
  await rm(run, { recursive: true });
  await symlink(await temporaryDirectory(t), run);
  await assert.rejects(start(), rejected);
  await rm(run);
  assert.equal((await findServer({ SLUICE_HOME: home })).kind, 'socket');
});
