import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { publicGitOverHttps } from '../../src/build/public-git.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { writeTree } from '../support/tree.ts';

test('git fetches from hosts with public repositories over HTTPS if the user has no keys', async (t) => {
  const home = await temporaryDirectory(t);
  const used = (address: string, app = {}) => {
    const env = { ...process.env, HOME: home, ...publicGitOverHttps(home, app) };
    return execFileSync('git', ['ls-remote', '--get-url', address], { env, encoding: 'utf8' }).trim();
  };
  assert.equal(used('ssh://git@github.com/owner/name.git'), 'https://github.com/owner/name.git');
  assert.equal(used('git@gitlab.com:owner/name.git'), 'https://gitlab.com/owner/name.git');
  assert.equal(used('ssh://git@git.example.com/name.git'), 'ssh://git@git.example.com/name.git');
  assert.equal(
    used('git@github.com:owner/name.git', { GIT_SSH_COMMAND: 'ssh -i key' }),
    'git@github.com:owner/name.git',
  );
  await writeTree(home, { '.ssh/known_hosts': '' });
  assert.equal(used('git@github.com:owner/name.git'), 'https://github.com/owner/name.git');
  await writeTree(home, { '.ssh/id_ed25519': '' });
  assert.equal(used('git@github.com:owner/name.git'), 'git@github.com:owner/name.git');
});
