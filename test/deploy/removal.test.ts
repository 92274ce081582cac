import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { AppRepository } from '../../src/apps/app-repository.ts';
import { heads } from '../../src/git/refs.ts';
import { noCommit } from '../../src/releases/release.ts';
import { answering } from '../support/apps.ts';
import { Checkout } from '../support/git.ts';
import { pack } from '../support/pack.ts';
import { idOf, TestService } from '../support/service.ts';
import { waitFor } from '../support/wait.ts';

const staging = { app: 'shop', environment: 'staging' };

/** Lets each call `name` of an app to the runner wait until `open` is called. */
function gate(server: TestService, name: string, key: string) {
  const { promise, resolve: open } = Promise.withResolvers<void>();
  let isReached = false;
  server.runner.onCall = async (called, of) => {
    if (called !== name || of !== key) return;
    isReached = true;
    await promise;
  };
  return { open, reached: () => waitFor(() => isReached, { what: `${name} of ${key}` }) };
}

for (const [what, call, users] of [
  ['drains', 'stop', false],
  ['is deleted', 'endAll', true],
] as const) {
  test(`while one environment ${what}, the others deploy, and its own next deploy waits`, async (t) => {
    const server = await TestService.start(t);
    server.runner.users = users;
    await server.deploy('shop', answering('one'));
    await server.deployTo(staging, answering('one'));
    const { open, reached } = gate(server, call, 'shop@staging');
    const removal = server.service.destroy(staging, 'test');
    await reached();
    let isLive = false;
    const next = server.deployTo(staging, answering('new')).finally(() => {
      isLive = true;
    });
    assert.equal((await server.deploy('shop', answering('two'))).number, 2);
    const changes = { WORD: 'two' };
    await server.service.changeVariables(idOf('shop'), changes, { restart: true, by: 'test' });
    assert.ok(!isLive);
    open();
    await removal;
    assert.equal((await next).number, 1);
    assert.deepEqual([...server.runner.active.keys()].sort(), ['shop', 'shop@staging']);
    const left = (await readdir(server.paths.home)).filter((name) => name.startsWith('.removing-'));
    assert.deepEqual(left, []);
  });
}

test('a removal whose files cannot be deleted is in the history, and its branch is gone', async (t) => {
  const server = await TestService.start(t);
  server.runner.users = true;
  await server.deploy('shop', answering('one'));
  const checkout = await Checkout.create(t);
  const commit = await checkout.commit('One', answering('one'));
  const repository = new AppRepository(server.paths.repository('shop'));
  await repository.ensure();
  await checkout.git('--git-dir', repository.path, 'fetch', '--quiet', checkout.directory, 'main');
  const origin = { ...noCommit, kind: 'git', by: 'test', commit, branch: 'develop' } as const;
  const body = Readable.from([await pack(answering('one'))]);
  await server.service.deploy(staging, { origin, body, contentLength: null }, () => undefined);
  assert.deepEqual([...(await repository.refs(heads)).keys()], [`${heads}develop`]);

  server.runner.onCall = (name) => {
    if (name === 'endAll') throw new Error('the runner is gone');
  };
  await assert.rejects(server.service.destroy(staging, 'test'), { message: 'the runner is gone' });
  assert.deepEqual([...(await repository.refs(heads)).keys()], []);
  const { environment, action, outcome } = (await server.history()).at(-1) ?? {};
  assert.deepEqual([environment, action, outcome], ['staging', 'destroy', 'done']);
});
