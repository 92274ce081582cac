import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { releaseViews } from '../../src/apps/release-view.ts';
import type { Paths } from '../../src/config/paths.ts';
import type { DeployEvent } from '../../src/deploy/events.ts';
import { AppError } from '../../src/errors/app-error.ts';
import { answering } from '../support/apps.ts';
import { Checkout } from '../support/git.ts';
import { startSluice } from '../support/server.ts';
import { idOf, TestService } from '../support/service.ts';
import { waitFor } from '../support/wait.ts';

const unusable = { 'readme.txt': 'no app' };

function noArchive(): Readable {
  return Readable.from([Buffer.from('no archive')]);
}

async function assertNoTrace(paths: Paths, app: string): Promise<void> {
  assert.ok(!(await readdir(paths.apps)).includes(app));
  const removals = (await readdir(paths.home)).filter((name) => name.startsWith('.removing-'));
  assert.deepEqual(removals, []);
}

test('a refused first deploy leaves no app: a bad archive, bad settings, or no start file', async (t) => {
  const server = await TestService.start(t);
  const events: DeployEvent[] = [];
  const refused = server.deployBody('refused', noArchive(), (event) => events.push(event));
  await assert.rejects(refused, { code: 'archive_unreadable' });
  const last = events.at(-1);
  assert.equal(last?.event === 'failed' && last.release, null);
  await assertNoTrace(server.paths, 'refused');
  const badSettings = server.deploy('refused', answering('x', { workers: 'some' }));
  await assert.rejects(badSettings, { code: 'invalid_settings' });
  await assertNoTrace(server.paths, 'refused');
  await assert.rejects(server.deploy('refused', unusable), { code: 'nothing_to_run' });
  await assertNoTrace(server.paths, 'refused');
  await assert.rejects(server.service.status(idOf('refused')), { code: 'app_not_found' });
  // The number and the port of the app are free again.
  assert.equal((await server.deploy('refused', answering('good'))).number, 1);
});

test('an app stays when its only variable is removed, or when a call finds no release to start', async (t) => {
  const server = await TestService.start(t);
  const { service } = server;
  const setEnv = (changes: Record<string, string | null>) =>
    service.changeVariables(idOf('kept'), changes, { restart: true, by: 'test' });
  await setEnv({ GREETING: 'hello' });
  await assert.rejects(server.deploy('kept', unusable), { code: 'nothing_to_run' });
  await setEnv({ GREETING: null });
  await assert.rejects(service.changeRunState('start', idOf('kept'), 'test'), { code: 'not_deployed' });
  assert.equal((await service.status(idOf('kept'))).state, 'empty');
});

test('a list of all apps does not fail if an unused app is removed meanwhile', async (t) => {
  const server = await TestService.start(t);
  let isDone = false;
  const list = async () => {
    while (!isDone) await server.service.list();
  };
  const refuse = async (name: string) => {
    for (let count = 0; count < 12; count += 1) {
      await assert.rejects(server.deployBody(name, noArchive()), { code: 'archive_unreadable' });
    }
  };
  const listing = Promise.all([list(), list(), list(), list()]);
  await Promise.all(['here', 'there', 'gone'].map(refuse)).finally(() => {
    isDone = true;
  });
  await listing;
  assert.deepEqual(
    server.log.filter(({ level }) => level === 'error'),
    [],
  );
});

test('a refused first push leaves neither an app nor a repository', async (t) => {
  const sluice = await startSluice(t);
  const checkout = await Checkout.create(t);
  await checkout.commit('One', unusable);
  const { code, output } = await checkout.try('push', sluice.gitUrl('pushed'), 'main');
  assert.equal(code, 1);
  assert.match(output, /^failed at check: /m);
  assert.doesNotMatch(output, /sluice releases/, 'there is no log to show');
  // Git ends a moment after its client.
  const isGone = () => assertNoTrace(sluice.paths, 'pushed').then(() => true);
  await waitFor(() => isGone().catch(() => false), { what: 'its end' });
  await assert.rejects(sluice.status('pushed'), { code: 'app_not_found' });
});

test('an app stays if it has a failed build, a variable, another environment, or a release', async (t) => {
  const server = await TestService.start(t);
  const { service } = server;
  server.runner.onBoot = ({ key }) => {
    if (key === 'built') throw new AppError('boot_exited', 'exit status 1');
  };
  await assert.rejects(server.deploy('built', answering('never')), { code: 'boot_exited' });
  assert.equal((await releaseViews(await service.find(idOf('built'))))[0]?.state, 'failed');
  await service.changeVariables(idOf('variables'), { WORD: 'kept' }, { restart: true, by: 'test' });
  await assert.rejects(server.deploy('variables', unusable));
  assert.deepEqual(await (await service.find(idOf('variables'))).variables(), { WORD: 'kept' });
  await server.deploy('live', answering('live'));
  await assert.rejects(server.deploy('live', unusable));
  const staging = { app: 'live', environment: 'staging' };
  await assert.rejects(server.deployTo(staging, unusable));
  const states = (await releaseViews(await service.find(idOf('live')))).map(({ state }) => state);
  assert.deepEqual(states, ['failed', 'live']);
  await assert.rejects(service.status(staging), { code: 'app_not_found' });
});

test('refused first deploys do not disturb a good one at the same time', async (t) => {
  const server = await TestService.start(t);
  const good = server.deploy('many', answering('good'));
  const refused = Array.from({ length: 8 }, () => server.deploy('many', unusable));
  const all = await Promise.allSettled([good, ...refused]);
  const outcomes = all.map((one) => (one.status === 'fulfilled' ? 'live' : one.reason.code));
  for (const outcome of outcomes.slice(1)) {
    assert.ok(['nothing_to_run', 'superseded'].includes(outcome), outcome);
  }
  // A newer deploy wins over an older one, even if the newer one is refused later.
  if (outcomes[0] !== 'live') await server.deploy('many', answering('good'));
  assert.equal((await server.service.status(idOf('many'))).state, 'running');
});
