import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { answering } from '../support/apps.ts';
import { cli } from '../support/cli.ts';
import { Checkout, remoteBranches } from '../support/git.ts';
import { startWithSshd } from '../support/ways.ts';
import { wholeFile } from '../support/whole-file.ts';

const { sluice, ways } = await startWithSshd(wholeFile);

/** Clones `origin` like a CI job, and pushes the newest commit as in docs/git.md. */
async function pushFromCi(origin: Checkout, url: string, env: Record<string, string>, depth = 1) {
  const job = await Checkout.create(wholeFile, env);
  await job.git('clone', '--quiet', `--depth=${depth}`, `file://${origin.directory}`, 'copy');
  return job.try('-C', 'copy', 'push', '--force', url, 'HEAD:refs/heads/main');
}

/** Checks that the repository on the server lacks no objects. */
async function checkRepository(app: string): Promise<void> {
  const repository = sluice.paths.repository(app);
  await promisify(execFile)('git', ['--git-dir', repository, 'fsck', '--connectivity-only']);
}

for (const [way, { url, env }] of Object.entries(ways)) {
  for (const first of way === 'http' ? ['shallow', 'full'] : ['shallow']) {
    test(`CI deploys from fresh clones of depth 1 over ${way} after a first push that was ${first} (thorough)`, async (t) => {
      const app = `ci-${way}-${first}`;
      const origin = await Checkout.create(t, env);
      const expectLive = async ({ code, output }: { code: number | null; output: string }, word: string) => {
        assert.equal(code, 0, output);
        assert.doesNotMatch(output, /this release lacks/, 'no note without a reason');
        assert.equal(await sluice.get(app), word);
        assert.deepEqual(await remoteBranches(origin, sluice.gitUrl(app)), { main: await origin.head() });
        await checkRepository(app);
      };
      await origin.commit('Zero', answering('zero'));
      await origin.commit('One', answering('one'));
      if (first === 'full') await expectLive(await origin.try('push', url(app), 'main'), 'one');
      const deployFromCi = async (round: string) => {
        for (let at = 0; at < 5; at += 1) {
          // Two commits for each push: neither the clone nor the server has the parent of the newest.
          await origin.commit(`Between ${at}`);
          const word = `${round} ${at}`;
          await origin.commit(word, answering(word));
          await expectLive(await pushFromCi(origin, url(app), env), word);
        }
      };
      await deployFromCi('before');
      await origin.commit('Whole', answering('whole'));
      const whole = await origin.try('push', url(app), 'main');
      await expectLive(whole, 'whole');
      await deployFromCi('after');
      const clone = await Checkout.create(t, env);
      await clone.git('clone', '--quiet', url(app), 'copy');
      assert.equal(await clone.git('-C', 'copy', 'rev-parse', 'HEAD'), await origin.head());
    });
  }
}

test('a push reports new and missing commits if the history of the clone is long enough to know', async (t) => {
  const app = 'deep';
  const url = sluice.gitUrl(app);
  const origin = await Checkout.create(t);
  const first = await origin.commit('One', answering('one'));
  await pushFromCi(origin, url, {});
  await origin.commit('Two');
  await origin.commit('Three', answering('three'));
  const deep = await pushFromCi(origin, url, {}, 3);
  assert.equal(deep.code, 0, deep.output);
  assert.match(
    deep.output,
    /2 commits are new since the release that is live:\n {5}\w{10} Three\n {5}\w{10} Two\n/,
  );
  const cut = await (async () => {
    await origin.commit('Four');
    await origin.commit('Five', answering('five'));
    return pushFromCi(origin, url, {});
  })();
  assert.equal(cut.code, 0, cut.output);
  assert.doesNotMatch(cut.output, /are new/);
  const [release] = await sluice.releases(app);
  assert.deepEqual([release?.commits, release?.commitCount], [[], null]);

  // Commits that the live release has, and that the pushed commit certainly lacks.
  const older = await origin.try('push', '--force', url, `${first}:refs/heads/main`);
  assert.equal(older.code, 0, older.output);
  await sluice.rollback(app, 3);
  const other = await Checkout.create(t);
  await other.commit('Elsewhere', answering('elsewhere'));
  const unrelated = await other.try('push', '--force', url, 'main');
  assert.equal(unrelated.code, 0, unrelated.output);
  assert.match(unrelated.output, /Release 3 of Ann is live, and this release lacks commit \w{10} Five\./);
  assert.equal(await sluice.get(app), 'elsewhere');
  await checkRepository(app);
});

test('commits from shallow clones survive garbage collection, and can be built and rolled back to (thorough)', async (t) => {
  const app = 'collected';
  const url = sluice.gitUrl(app);
  const origin = await Checkout.create(t);
  for (const word of ['one', 'two', 'three']) {
    await origin.commit(`Before ${word}`);
    await origin.commit(word, answering(word));
    assert.equal((await pushFromCi(origin, url, {})).code, 0);
  }
  await promisify(execFile)('git', [
    '--git-dir',
    sluice.paths.repository(app),
    'gc',
    '--quiet',
    '--prune=now',
  ]);
  await checkRepository(app);
  await sluice.rollback(app, 1);
  assert.equal(await sluice.get(app), 'one');
  await sluice.call('POST', `/v1/apps/${app}/releases/2/redeploy`);
  assert.equal(await sluice.get(app), 'two');
  await origin.commit('After', answering('after'));
  assert.equal((await pushFromCi(origin, url, {})).code, 0);
  assert.equal(await sluice.get(app), 'after');
  await checkRepository(app);
});

test('`sluice deploy` sends a clone of depth 1 with its commit, and a later push from another clone works (thorough)', async (t) => {
  const app = 'uploaded';
  const origin = await Checkout.create(t);
  await origin.commit('Before');
  const commit = await origin.commit('One', answering('one'));
  const job = await Checkout.create(t);
  await job.git('clone', '--quiet', '--depth=1', `file://${origin.directory}`, 'copy');
  const env = { SLUICE_HOME: sluice.home, SLUICE_URL: sluice.url, SLUICE_TOKEN: sluice.token };
  const { code, stdout, stderr } = await cli(['deploy', '--app', app, join(job.directory, 'copy')], { env });
  assert.equal(code, 0, stdout + stderr);
  assert.equal((await sluice.releases(app))[0]?.commit, commit);
  await origin.commit('Between');
  await origin.commit('Two', answering('two'));
  const { code: pushed, output } = await pushFromCi(origin, sluice.gitUrl(app), {});
  assert.equal(pushed, 0, output);
  assert.doesNotMatch(output, /this release lacks/);
  assert.equal(await sluice.get(app), 'two');
});
