import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { listDirectory } from '../../src/system/fs/files.ts';
import { answering } from '../support/apps.ts';
import { Checkout, remoteBranches } from '../support/git.ts';
import { fetchOnce } from '../support/http.ts';
import { startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';
import { wholeFile } from '../support/whole-file.ts';

const sluice = await startSluice(wholeFile);

/** Returns a checkout whose first commit is live as `app`. */
async function live(t: Parameters<typeof Checkout.create>[0], app: string, settings = {}) {
  const checkout = await Checkout.create(t);
  const url = sluice.gitUrl(app);
  const commit = await checkout.commit('One', answering('one', settings));
  await checkout.git('push', url, 'main');
  const releases = async () => (await sluice.releases(app)).length;
  return { checkout, url, commit, releases };
}

test('a branch that does not deploy is refused with the branches that do, and moves nothing', async (t) => {
  const { checkout, url, commit, releases } = await live(t, 'branch', {
    branches: { staging: ['develop', 'next'] },
  });
  await checkout.git('switch', '--quiet', '--create', 'feature');
  const { code, output } = await checkout.try('push', url, 'feature');
  assert.equal(code, 1);
  assert.match(
    output,
    /^refused: the branch feature does not deploy \(branches that deploy: main or master into production, develop or next into staging\)$/m,
  );
  assert.match(
    output,
    /^ {2}Give the branch an environment in sluice\.json.+"branches": \{"feature": "feature"\}/m,
  );
  assert.deepEqual(await remoteBranches(checkout, url), { main: commit });
  assert.equal(await releases(), 1);
});

test('a branch of another environment deploys into that environment, with a release, port and branch of its own (thorough)', async (t) => {
  const { checkout, url, commit } = await live(t, 'staged', { branches: { staging: 'develop' } });
  await checkout.git('switch', '--quiet', '--create', 'develop');
  const develop = await checkout.commit('Next', answering('next', { branches: { staging: 'develop' } }));
  const { code, output } = await checkout.try('push', url, 'develop');
  assert.equal(code, 0, output);
  assert.match(output, /^release 1 of staged \(staging\)$/m);
  assert.equal(await sluice.get('staged'), 'one');
  const staging = await sluice.call<{ url: string; release: number }>(
    'GET',
    '/v1/apps/staged?environment=staging',
  );
  assert.equal(await (await fetchOnce(staging.url)).text(), 'next');
  assert.deepEqual(await remoteBranches(checkout, url), { main: commit, develop });
});

test('the branch of an environment is the one that was pushed last (thorough)', async (t) => {
  const { checkout, url } = await live(t, 'renamed');
  const two = await checkout.commit('Two', answering('two'));
  assert.equal((await checkout.try('push', url, 'main:master')).code, 0);
  await untilBranches(checkout, url, { master: two });
});

test('tags are kept with a branch, refused alone, and can be deleted', async (t) => {
  const { checkout, url, releases } = await live(t, 'tags');
  await checkout.git('tag', '--annotate', 'v1', '--message', 'Version 1');
  const alone = await checkout.try('push', url, 'v1');
  assert.equal(alone.code, 1);
  assert.match(alone.output, /^refused: a tag alone deploys nothing$/m);
  await checkout.commit('Two', answering('two'));
  assert.equal((await checkout.try('push', '--follow-tags', url, 'main')).code, 0);
  await checkout.git('tag', 'v2');
  await checkout.commit('Three', answering('three'));
  assert.equal((await checkout.try('push', '--tags', url, 'main')).code, 0);
  assert.match(await checkout.git('ls-remote', '--tags', url), /refs\/tags\/v1\n[\s\S]*refs\/tags\/v2/);
  assert.equal((await checkout.try('push', url, ':v2')).code, 0);
  assert.doesNotMatch(await checkout.git('ls-remote', '--tags', url), /v2/);
  assert.equal(await releases(), 3);
});

test('clients cannot push to the refs of releases (thorough)', async (t) => {
  const { checkout, url, releases } = await live(t, 'odd');
  await checkout.commit('Two', answering('two'));
  assert.equal((await checkout.try('push', url, 'main:refs/sluice/production/1')).code, 1);
  assert.equal(await releases(), 1);
});

test('a rewritten history or an older commit deploys only with --force (thorough)', async (t) => {
  const { checkout, url, commit } = await live(t, 'forced');
  const two = await checkout.commit('Two', answering('two'));
  await checkout.git('push', url, 'main');
  const gentle = await checkout.try('push', url, `${commit}:main`);
  assert.equal(gentle.code, 1);
  assert.equal(await sluice.get('forced'), 'two');
  const back = await checkout.try('push', '--force', url, `${commit}:main`);
  assert.equal(back.code, 0, back.output);
  assert.match(back.output, /^note: Release 2 of Ann is live, and this release lacks commit \w{10} Two\.$/m);
  assert.equal(await sluice.get('forced'), 'one');
  assert.deepEqual(await remoteBranches(checkout, url), { main: commit });
  await checkout.git('reset', '--quiet', '--hard', two);
  await checkout.write(answering('amended'));
  await checkout.git('commit', '--quiet', '--all', '--amend', '--message', 'Two, better');
  assert.equal((await checkout.try('push', '--force', url, 'main')).code, 0);
  assert.equal(await sluice.get('forced'), 'amended');
});

test('an unchanged branch does not reach the server; its release can be built again (thorough)', async (t) => {
  const { checkout, url, releases } = await live(t, 'same');
  const { code, output } = await checkout.try('push', url, 'main');
  assert.equal(code, 0);
  assert.match(output, /Everything up-to-date/);
  assert.equal(await releases(), 1);
  const again = await sluice.call<{ number: number; commit: string }>(
    'POST',
    '/v1/apps/same/releases/1/redeploy',
  );
  assert.equal(again.number, 2);
  assert.equal(again.commit, await checkout.head());
  assert.deepEqual(await remoteBranches(checkout, url), { main: await checkout.head() });
});

test('a commit without files is refused; git itself refuses a push of nothing (thorough)', async (t) => {
  const checkout = await Checkout.create(t);
  const nothing = await checkout.try('push', sluice.gitUrl('empty'), 'main');
  assert.match(nothing.output, /src refspec main does not match any/);
  await checkout.commit('Nothing at all');
  const { code, output } = await checkout.try('push', sluice.gitUrl('empty'), 'main');
  assert.equal(code, 1);
  assert.match(output, /^failed at receive: the archive contains no files$/m);
});

test('a shallow clone can push, as in CI, and a full clone after it (thorough)', async (t) => {
  const whole = await Checkout.create(t);
  await whole.commit('One', answering('one'));
  await whole.commit('Two', answering('two'));
  const shallow = await Checkout.create(t);
  await shallow.git('fetch', '--quiet', '--depth=1', `file://${whole.directory}`, 'main');
  await shallow.git('reset', '--quiet', '--hard', 'FETCH_HEAD');
  const url = sluice.gitUrl('shallow');
  const first = await shallow.try('push', url, 'main');
  assert.equal(first.code, 0, first.output);
  assert.equal(await sluice.get('shallow'), 'two');
  const three = await shallow.commit('Three', answering('three'));
  assert.equal((await shallow.try('push', url, 'main')).code, 0);
  assert.equal((await sluice.releases('shallow'))[0]?.commitCount, 1);
  await whole.git('pull', '--quiet', shallow.directory, 'main');
  const four = await whole.commit('Four', answering('four'));
  const last = await whole.try('push', url, 'main');
  assert.equal(last.code, 0, last.output);
  assert.deepEqual(await remoteBranches(whole, url), { main: four });
  assert.equal((await sluice.releases('shallow'))[0]?.commits[0]?.commit, four);
  assert.equal((await sluice.releases('shallow'))[1]?.commit, three);
});

test('of two branches that exclude each other one exists, and other branches still move (thorough)', async (t) => {
  const { checkout, url } = await live(t, 'nested');
  const push = async (branch: string, branches: object) => {
    await checkout.commit(branch, answering(branch, { branches }));
    const { code, output } = await checkout.try('push', url, `main:refs/heads/${branch}`);
    assert.equal(code, 0, output);
    return checkout.head();
  };
  await push('rel', { staging: 'rel' });
  await push('rel/next', { preview: 'rel/next' });
  await sluice.deploy('nested', answering('uploaded'));
  const branches = Object.keys(await remoteBranches(checkout, url));
  assert.ok(!branches.includes('main'), 'production runs an upload without a commit');
  assert.equal(branches.filter((branch) => branch.startsWith('rel')).length, 1);
});

test('git refuses an atomic push: one ref must not undo the live branch (thorough)', async (t) => {
  const { checkout, url, releases } = await live(t, 'atomic');
  await checkout.commit('Two', answering('two'));
  await checkout.git('tag', 'v1');
  const { code, output } = await checkout.try('push', '--atomic', url, 'main', 'v1');
  assert.notEqual(code, 0);
  assert.match(output, /does not support --atomic/);
  assert.equal(await releases(), 1);
});

test('a push of 60,000 refs is refused and does not fill the log (thorough)', async (t) => {
  const { commit, releases } = await live(t, 'crowd');
  // The real client takes hours for so many refs.
  const names = Array.from({ length: 60_000 }, (_, at) => `refs/tags/a-tag-with-a-long-name-${at}`);
  const output = await pushByHand(
    'crowd',
    names.map((name) => `${'0'.repeat(40)} ${commit} ${name}`),
  );
  assert.match(output, /refused: the push has too many refs: more than \d+$/m);
  assert.equal(await releases(), 1);
  assert.ok((await sluice.log()).every((line) => JSON.stringify(line).length < 5000));
});

/** Pushes changes of refs without objects, as no git does: gitprotocol-pack(5). @returns the answer */
async function pushByHand(app: string, [first = '', ...others]: string[]): Promise<string> {
  const packet = (text: string) => `${(text.length + 4).toString(16).padStart(4, '0')}${text}`;
  const nothing = Buffer.from('PACK\0\0\0\u0002\0\0\0\0');
  const pack = Buffer.concat([nothing, createHash('sha1').update(nothing).digest()]);
  const commands = [packet(`${first}\0report-status side-band-64k`), ...others.map(packet), '0000'].join('');
  const answer = await sluice.request(`/git/${app}.git/git-receive-pack`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-git-receive-pack-request' },
    body: new Uint8Array(Buffer.concat([Buffer.from(commands), pack])),
  });
  return answer.text();
}

test('a first push that is refused leaves no app and no files behind', async (t) => {
  const checkout = await Checkout.create(t);
  await checkout.commit('One', answering('one'));
  assert.equal((await checkout.try('push', sluice.gitUrl('never'), 'main:feature')).code, 1);
  await assert.rejects(sluice.status('never'), { code: 'app_not_found' });
  await waitFor(async () => !(await listDirectory(sluice.paths.apps)).includes('never'), { what: 'its end' });
});

/** Waits until the branches are as expected: other branches are removed a moment after the push. */
async function untilBranches(checkout: Checkout, url: string, wanted: Record<string, string>): Promise<void> {
  const right = async () => isDeepStrictEqual(await remoteBranches(checkout, url), wanted);
  await waitFor(right, { what: `the branches ${Object.keys(wanted)}` });
}
