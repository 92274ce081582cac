import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { answering, answeringOnceThereIs } from '../support/apps.ts';
import { Checkout, type RunningGit, remoteBranches } from '../support/git.ts';
import type { Files } from '../support/pack.ts';
import { startSluice } from '../support/server.ts';
import { thorough } from '../support/tiers.ts';
import { Visitor } from '../support/visitor.ts';
import { waitFor } from '../support/wait.ts';
import { startWithSshd } from '../support/ways.ts';
import { wholeFile } from '../support/whole-file.ts';

const { sluice, sshd, authorizedKeys, ways } = await startWithSshd(wholeFile);

test('the second of two pushes waits, and the newest wins', async (t) => {
  const url = sluice.gitUrl('pair');
  const ann = await Checkout.create(t);
  const one = await ann.commit('One', answering('one'));
  await ann.git('push', url, 'main');
  const bob = await Checkout.create(t);
  await bob.git('pull', '--quiet', url, 'main');

  const go = join(sluice.home, 'go-pair');
  await ann.commit('Of Ann', buildingUntil(go));
  const bobs = await bob.commit('Of Bob', answering('of Bob'));
  const first = ann.start('push', url, 'main');
  await first.until(/^ +building$/);
  const second = bob.start('push', url, 'main');
  await second.until(/^ +waiting for release 2, which is being deployed$/);
  assert.deepEqual(await remoteBranches(ann, url), { main: one });
  await writeFile(go, '');
  assert.equal((await first.ended).code, 0);
  // Both have seen the branch at the first commit, and neither is based on the other.
  const { code, output } = await second.ended;
  assert.equal(code, 0, output);
  assert.match(
    output,
    /^note: Release 2 of Ann went live meanwhile, and this release lacks commit \w{10} Of Ann\.$/m,
  );
  assert.equal(await sluice.get('pair'), 'of Bob');
  assert.deepEqual(await remoteBranches(ann, url), { main: bobs });
});

test('a third push supersedes the one that waits (thorough)', async (t) => {
  const url = sluice.gitUrl('three');
  const go = join(sluice.home, 'go-three');
  const pushers: RunningGit[] = [];
  for (const files of [buildingUntil(go), answering('second'), answering('third')]) {
    const checkout = await Checkout.create(t);
    await checkout.commit('Theirs', files);
    const push = checkout.start('push', url, 'main');
    await push.until(pushers.length === 0 ? /building$/ : /waiting for release 1/);
    pushers.push(push);
  }
  const superseded = await pushers[1]?.ended;
  assert.equal(superseded?.code, 1);
  assert.match(superseded.output, /^failed at wait: release 2 was superseded by release 3, which is newer$/m);
  await writeFile(go, '');
  assert.equal((await pushers[0]?.ended)?.code, 0);
  assert.equal((await pushers[2]?.ended)?.code, 0, 'although the first one has made the branch meanwhile');
  assert.equal(await sluice.get('three'), 'third');
});

test('a rollback moves the branch, and the same or a newer commit can be pushed after it', async (t) => {
  const url = sluice.gitUrl('back');
  const checkout = await Checkout.create(t);
  const one = await checkout.commit('One', answering('one'));
  await checkout.git('push', url, 'main');
  const two = await checkout.commit('Two', answering('two'));
  await checkout.git('push', url, 'main');
  await sluice.rollback('back');
  assert.deepEqual(await remoteBranches(checkout, url), { main: one });
  const same = await checkout.try('push', url, 'main');
  assert.equal(same.code, 0, same.output);
  assert.match(same.output, /^live: .+ release 3 /m);
  assert.deepEqual(await remoteBranches(checkout, url), { main: two });
  await sluice.rollback('back', 1);
  const three = await checkout.commit('Three', answering('three'));
  assert.equal((await checkout.try('push', url, 'main')).code, 0);
  assert.deepEqual(await remoteBranches(checkout, url), { main: three });
  // Forwards again, to a commit that no branch has had for a while, and that no garbage collector must take.
  await sluice.rollback('back', 1);
  await checkout.git('-C', sluice.paths.repository('back'), 'gc', '--quiet', '--prune=now');
  await sluice.rollback('back', 4);
  assert.deepEqual(await remoteBranches(checkout, url), { main: three });
});

test('an upload has no branch, so that a push of any commit deploys (thorough)', async (t) => {
  const url = sluice.gitUrl('mixed');
  const checkout = await Checkout.create(t);
  const one = await checkout.commit('One', answering('one'));
  await checkout.git('push', url, 'main');
  await sluice.deploy('mixed', answering('uploaded'));
  assert.deepEqual(await remoteBranches(checkout, url), {});
  const { code, output } = await checkout.try('push', url, 'main');
  assert.equal(code, 0, output);
  assert.match(
    output,
    /^note: Release 2 of test is live, and this release lacks its files, which were uploaded without a commit\.$/m,
  );
  assert.equal(await sluice.get('mixed'), 'one');
  assert.deepEqual(await remoteBranches(checkout, url), { main: one });
});

test('a push is accepted despite a rollback meanwhile (thorough)', async (t) => {
  const url = sluice.gitUrl('crossed');
  const checkout = await Checkout.create(t);
  await checkout.commit('One', answering('one'));
  await checkout.git('push', url, 'main');
  await checkout.commit('Two', answering('two'));
  await checkout.git('push', url, 'main');
  const go = join(sluice.home, 'go-crossed');
  const three = await checkout.commit('Three', buildingUntil(go));
  const push = checkout.start('push', url, 'main');
  await push.until(/building$/);
  await sluice.rollback('crossed');
  assert.equal(await sluice.get('crossed'), 'one');
  await writeFile(go, '');
  const { code, output } = await push.ended;
  assert.equal(code, 0, output);
  assert.deepEqual(await remoteBranches(checkout, url), { main: three });
});

for (const [way, { url, env }] of Object.entries(ways)) {
  test(`Ctrl-C over ${way} cancels a deploy before its switch${thorough(way !== 'http')}`, async (t) => {
    const app = `cancelled-${way}`;
    const checkout = await Checkout.create(t, env);
    const one = await checkout.commit('One', answering('one'));
    await checkout.git('push', url(app), 'main');
    await checkout.commit('Never', answeringOnceThereIs('/nonexistent', 'never'));
    const push = checkout.start('push', url(app), 'main');
    await push.until(/^-- boot$/);
    interrupt(push);
    await push.ended;
    const release = await waitFor(async () => {
      const [newest] = await sluice.releases(app);
      return newest?.state === 'failed' && newest;
    });
    assert.deepEqual([release.number, release.error?.code, release.error?.step], [2, 'cancelled', 'boot']);
    assert.match(release.error?.message ?? '', /client of the push disconnected/);
    await waitFor(async () => (await sluice.status(app)).workers.every((worker) => worker.release === 1));
    assert.deepEqual(await remoteBranches(checkout, url(app)), { main: one });
    await checkout.commit('Two', answering('two'));
    assert.equal((await checkout.try('push', url(app), 'main')).code, 0);
    assert.equal(await sluice.get(app), 'two');
  });

  test(`a client over ${way} that disconnects after the switch leaves a live release with its branch${thorough(way !== 'http')}`, async (t) => {
    const app = `late-${way}`;
    const checkout = await Checkout.create(t, env);
    const go = join(sluice.home, `go-late-${way}`);
    const hooks = { postSwitch: `echo switched; until [ -e ${go} ]; do sleep 0.05; done` };
    const commit = await checkout.commit('One', answering('one', { hooks }));
    const push = checkout.start('push', url(app), 'main');
    await push.until(/^ +switched$/);
    interrupt(push);
    await push.ended;
    await writeFile(go, '');
    await waitFor(async () => (await remoteBranches(checkout, url(app)))['main'] === commit, {
      what: 'the branch',
    });
    const [release] = await sluice.releases(app);
    assert.equal(release?.state, 'live');
    assert.equal(await sluice.get(app), 'one');
  });
}

test('a kill of the server fails a push at once, and the branch does not move (thorough)', async (t) => {
  const own = await startSluice(t, { settings: { ssh: { authorizedKeys } } });
  for (const [way, env] of Object.entries({ http: {}, ssh: { GIT_SSH_COMMAND: sshd.command('there') } })) {
    await t.test(way, async (t) => {
      if (way === 'ssh')
        await own.call('POST', '/v1/keys', { name: 'there', key: await sshd.makeKey('there') });
      const url = () => (way === 'ssh' ? sshd.url(way) : own.gitUrl(way));
      const checkout = await Checkout.create(t, env);
      const one = await checkout.commit('One', answering('one'));
      await checkout.git('push', url(), 'main');
      await using visitor = new Visitor((await own.status(way)).url);
      await checkout.commit('Two', answeringOnceThereIs('/nonexistent', 'two'));
      const push = checkout.start('push', url(), 'main');
      await push.until(/^-- boot$/);
      const killedAt = Date.now();
      await own.kill();
      const { code, output } = await push.ended;
      assert.ok(Date.now() - killedAt < 5000, 'the push failed at once');
      assert.notEqual(code, 0);
      assert.match(
        output,
        way === 'ssh' ? /^sluice: The connection to Sluice was lost/m : /RPC failed|hung up unexpectedly/,
      );
      await own.up();
      assert.deepEqual(await remoteBranches(checkout, url()), { main: one });
      assert.deepEqual(
        (await own.releases(way)).map(({ state }) => state),
        ['failed', 'live'],
      );
      const { answers, failures } = await visitor.leave();
      assert.deepEqual(failures, []);
      assert.ok(answers > 0);
      await checkout.commit('Three', answering('three'));
      const again = await checkout.try('push', url(), 'main');
      assert.equal(again.code, 0, again.output);
      assert.equal(await own.get(way), 'three');
    });
  }
});

test('a server that is stopped refuses a push under way with the reason (thorough)', async (t) => {
  const own = await startSluice(t);
  const checkout = await Checkout.create(t);
  await checkout.commit('One', answeringOnceThereIs('/nonexistent', 'one'));
  const push = checkout.start('push', own.gitUrl('stopped'), 'main');
  await push.until(/^-- boot$/);
  assert.equal(await own.stop(), 0);
  const { code, output } = await push.ended;
  assert.equal(code, 1);
  assert.match(output, /^failed at boot: Sluice is being stopped$/m);
  assert.match(output, /pre-receive hook declined/);
});

test('a kill of git or its hook during a push lets nothing go live (thorough)', async (t) => {
  for (const [what, pattern] of Object.entries({ git: /receive-pack/, hook: /hooks\/pre-receive/ })) {
    await t.test(what, async (t) => {
      const url = sluice.gitUrl(`killed-${what}`);
      const checkout = await Checkout.create(t);
      const one = await checkout.commit('One', answering('one'));
      await checkout.git('push', url, 'main');
      await checkout.commit('Two', answeringOnceThereIs('/nonexistent', 'two'));
      const push = checkout.start('push', url, 'main');
      await push.until(/^-- boot$/);
      const pid = await descendant(sluice.pid, pattern);
      process.kill(pid, 'SIGKILL');
      const { code } = await push.ended;
      assert.notEqual(code, 0);
      const release = await waitFor(async () => {
        const [newest] = await sluice.releases(`killed-${what}`);
        return newest?.state === 'failed' && newest;
      });
      assert.match(release.error?.message ?? '', /^git was ended before the release was live$/);
      assert.deepEqual(await remoteBranches(checkout, url), { main: one });
      await checkout.commit('Three', answering('three'));
      const again = await checkout.try('push', url, 'main');
      assert.equal(again.code, 0, again.output);
    });
  }
});

test('a client that does not read does not delay other pushes (thorough)', async (t) => {
  const url = sluice.gitUrl('deaf');
  const checkout = await Checkout.create(t);
  const line = 'x'.repeat(200);
  const hooks = { preBuild: `echo building; yes ${line} | head -n 100000` };
  await checkout.commit('One', answering('one', { hooks }));
  const push = checkout.start('push', url, 'main');
  t.after(() => interrupt(push, 'SIGKILL'));
  await push.until(/building$/);
  interrupt(push, 'SIGSTOP');
  await waitFor(async () => (await sluice.status('deaf')).state === 'running', { what: 'the release live' });
  const from = Date.now();
  await sluice.deploy('deaf', answering('two'));
  assert.ok(Date.now() - from < 20_000);
  assert.equal(await sluice.get('deaf'), 'two');
});

test('the removal of an app ends a push to the app (thorough)', async (t) => {
  const url = sluice.gitUrl('removed');
  const checkout = await Checkout.create(t);
  await checkout.commit('One', answering('one'));
  await checkout.git('push', url, 'main');
  await checkout.commit('Two', answeringOnceThereIs('/nonexistent', 'two'));
  const push = checkout.start('push', url, 'main');
  await push.until(/^-- boot$/);
  await sluice.call('DELETE', '/v1/apps/removed?confirm=removed');
  const { code, output } = await push.ended;
  assert.equal(code, 1, output);
  await assert.rejects(sluice.status('removed'), { code: 'app_not_found' });
  const again = await checkout.try('push', '--force', url, 'main~1:refs/heads/main');
  assert.equal(again.code, 0, again.output);
  assert.equal(await sluice.get('removed'), 'one');
});

/** Sends the signal of Ctrl-C in a terminal to git and all of its children. */
function interrupt({ process: child }: RunningGit, signal: NodeJS.Signals = 'SIGINT'): void {
  process.kill(-(child.pid as number), signal);
}

/** Returns the descendant of a process with a command. */
async function descendant(pid: number, command: RegExp): Promise<number> {
  const { stdout } = await promisify(execFile)('ps', ['-e', '-o', 'pid=,ppid=,args=']);
  const rows = stdout.split('\n').map((row) => row.trim().split(/\s+/));
  const family = new Set([String(pid)]);
  // A set goes on to what is added meanwhile. Numbers say nothing of who is whose: they begin anew at some time.
  for (const member of family) {
    for (const [child = '', parent = ''] of rows) if (parent === member) family.add(child);
  }
  const found = rows.find(([child = '', , ...args]) => family.has(child) && command.test(args.join(' ')));
  return Number(found?.[0]);
}

/** An app whose build ends when the file is there. */
function buildingUntil(file: string): Files {
  return answering('built', {
    hooks: { preBuild: `echo building; until [ -e ${file} ]; do sleep 0.05; done` },
  });
}
