import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { test } from 'node:test';
import { answering, running } from '../support/apps.ts';
import { Checkout } from '../support/git.ts';
import { startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';
import { wholeFile } from '../support/whole-file.ts';

const sluice = await startSluice(wholeFile);
const unusable = { 'readme.txt': 'no app' };

async function upload(
  app: string,
  body: Uint8Array<ArrayBuffer>,
): Promise<{ release: unknown; error: { code: string } }> {
  const response = await sluice.request(`/v1/apps/${app}/releases`, { method: 'POST', body });
  return response.json() as never;
}

async function assertNoTrace(app: string): Promise<void> {
  await assert.rejects(sluice.status(app), { code: 'app_not_found' });
  assert.ok(!(await readdir(sluice.paths.apps)).includes(app));
  assert.deepEqual(
    (await readdir(sluice.home)).filter((name) => name.startsWith('.removing-')),
    [],
  );
}

test('A refused first deploy leaves no app: a bad archive, bad settings, or no start file', async () => {
  const { release, error } = await upload('refused', new Uint8Array(Buffer.from('no archive')));
  assert.deepEqual([error.code, release], ['archive_unreadable', null]);
  await assertNoTrace('refused');
  await assert.rejects(sluice.deploy('refused', answering('x', { workers: 'some' })), {
    code: 'invalid_settings',
  });
  await assertNoTrace('refused');
  await assert.rejects(sluice.deploy('refused', unusable), { code: 'nothing_to_run' });
  await assertNoTrace('refused');
  // The number and the port of the app are free again.
  const { number } = await sluice.deploy('refused', answering('good'));
  assert.equal(number, 1);
});

test('An app stays when its only variable is removed, or when a call finds no release to start', async () => {
  const setEnv = (changes: Record<string, string | null>) =>
    sluice.call('PATCH', '/v1/apps/kept/env', changes);
  await setEnv({ GREETING: 'hello' });
  await assert.rejects(sluice.deploy('kept', unusable), { code: 'nothing_to_run' });
  await setEnv({ GREETING: null });
  await assert.rejects(sluice.call('POST', '/v1/apps/kept/start'), { code: 'not_deployed' });
  assert.equal((await sluice.status('kept')).state, 'empty');
});

test('A list of all apps does not fail if an unused app is removed meanwhile', async () => {
  let over = false;
  const list = async () => {
    while (!over) await sluice.call('GET', '/v1/apps');
  };
  const refuse = async (name: string) => {
    for (let count = 0; count < 12; count += 1) await upload(name, new Uint8Array(Buffer.from('no archive')));
  };
  const listing = Promise.all([list(), list(), list(), list()]);
  await Promise.all(['here', 'there', 'gone'].map(refuse)).finally(() => {
    over = true;
  });
  await listing;
  assert.deepEqual(
    (await sluice.log()).filter(({ level }) => level === 'error'),
    [],
  );
});

test('A refused first push leaves neither an app nor a repository', async (t) => {
  const checkout = await Checkout.create(t);
  await checkout.commit('One', unusable);
  const { code, output } = await checkout.try('push', sluice.gitUrl('pushed'), 'main');
  assert.equal(code, 1);
  assert.match(output, /^failed at check: /m);
  assert.doesNotMatch(output, /sluice releases/, 'there is no log to show');
  // Git ends a moment after its client.
  await waitFor(async () => !(await readdir(sluice.paths.apps)).includes('pushed'), { what: 'its end' });
  await assertNoTrace('pushed');
});

test('An app stays if it has a failed build, a variable, another environment, or a release', async () => {
  await assert.rejects(sluice.deploy('built', running('process.exit(1)')), { code: 'boot_exited' });
  assert.equal((await sluice.releases('built'))[0]?.state, 'failed');
  await sluice.call('PATCH', '/v1/apps/variables/env', { WORD: 'kept' });
  await assert.rejects(sluice.deploy('variables', unusable));
  assert.deepEqual(await sluice.call('GET', '/v1/apps/variables/env'), { WORD: 'kept' });
  await sluice.deploy('live', answering('live'));
  await assert.rejects(sluice.deploy('live', unusable));
  await assert.rejects(sluice.deploy('live', unusable, 'staging'));
  assert.deepEqual(
    (await sluice.releases('live')).map(({ state }) => state),
    ['failed', 'live'],
  );
  await assert.rejects(sluice.call('GET', '/v1/apps/live?environment=staging'), { code: 'app_not_found' });
  assert.equal(await sluice.get('live'), 'live');
});

test('Refused first deploys do not disturb a good one at the same time', async () => {
  const good = sluice.deploy('many', answering('good'));
  const all = await Promise.allSettled([
    good,
    ...Array.from({ length: 8 }, () => sluice.deploy('many', unusable)),
  ]);
  const outcomes = all.map((one) => (one.status === 'fulfilled' ? 'live' : one.reason.code));
  for (const outcome of outcomes.slice(1))
    assert.ok(['nothing_to_run', 'superseded'].includes(outcome), outcome);
  // A newer deploy wins over an older one, even if the newer one is refused later.
  if (outcomes[0] === 'live') assert.equal(await sluice.get('many'), 'good');
  else await sluice.deploy('many', answering('good'));
  assert.equal(await sluice.get('many'), 'good');
});
