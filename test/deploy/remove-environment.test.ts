import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { AppStatus } from '../../src/apps/status.ts';
import { isAlive } from '../../src/system/process/processes.ts';
import { answering } from '../support/apps.ts';
import { cli } from '../support/cli.ts';
import { Checkout, remoteBranches } from '../support/git.ts';
import { type Sluice, startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';

const preload = fileURLToPath(new URL('../support/crash-at-removal.ts', import.meta.url));
const ofStaging = { app: 'shop', environment: 'staging' };
const settings = {
  branches: { staging: 'develop' },
  processes: { queue: 'node queue.js' },
  cron: [{ name: 'tidy', schedule: '0 3 * * *', command: 'true' }],
  settleTime: 50,
};

/** Pushes an app into production and staging. */
async function pushBoth(t: TestContext, env: Record<string, string> = {}) {
  const sluice = await startSluice(t, { env });
  const checkout = await Checkout.create(t);
  const url = sluice.gitUrl('shop');
  const files = { ...answering('one', settings), 'queue.js': 'setInterval(() => {}, 1000);' };
  const commit = await checkout.commit('One', files);
  await checkout.git('push', url, 'main');
  await checkout.git('push', url, 'main:develop');
  return { sluice, checkout, url, commit };
}

const staging = (sluice: Sluice) => sluice.call<AppStatus>('GET', '/v1/apps/shop?environment=staging');
const pidsOf = ({ workers, background }: AppStatus) => [...workers, ...background].map(({ pid }) => pid);
const removals = async ({ home }: Sluice) =>
  (await readdir(home)).filter((name) => name.startsWith('.removing-'));

async function canBind(port: number): Promise<boolean> {
  await using server = createServer();
  await once(server.listen({ port, host: '127.0.0.1', exclusive: true }), 'listening');
  return true;
}

test('destroy shop@staging removes everything of staging, and nothing of production', async (t) => {
  const { sluice, checkout, url, commit } = await pushBoth(t);
  const run = (...args: string[]) => cli(args, { env: { SLUICE_HOME: sluice.home } });
  await sluice.call('POST', '/v1/tokens', { name: 'ci', scopes: ['deploy'], app: 'shop' });
  await run('env', 'set', 'shop@staging', 'WORD=staging');
  const started = await run('run', 'shop@staging', '--detach', '--json', 'echo $$ >pid; exec sleep 1000');
  assert.equal(started.code, 0, started.stderr);
  // The worker from before the change of the variable ends a moment after the switch.
  const before = await waitFor(
    async () => {
      const status = await staging(sluice);
      return pidsOf(status).length <= 2 && status;
    },
    { what: 'the end of the former worker' },
  );
  const production = await sluice.status('shop');
  const pids = pidsOf(before);
  assert.equal(pids.length, 2);

  assert.deepEqual(
    [
      (await run('destroy', 'shop@staging')).code,
      (await run('destroy', 'shop@staging', '--confirm', 'shop')).code,
    ],
    [2, 2],
  );
  await assert.rejects(sluice.call('DELETE', '/v1/apps/shop?environment=staging&confirm=shop'), {
    code: 'confirmation_required',
  });
  const removed = await run('delete', 'shop@staging', '--confirm', 'shop@staging', '--json');
  assert.equal(removed.code, 0, removed.stderr);
  assert.deepEqual(JSON.parse(removed.stdout), {
    ...ofStaging,
    ...{ tokens: [], keys: [], destroyed: true },
  });

  await assert.rejects(staging(sluice), { code: 'app_not_found' });
  assert.deepEqual(
    pids.map((pid) => isAlive(pid as number)),
    [false, false],
  );
  const runs = await sluice.call<unknown[]>('GET', '/v1/apps/shop/runs');
  assert.deepEqual(runs, []);
  assert.ok(!existsSync(sluice.paths.environment(ofStaging).directory));
  assert.deepEqual(await removals(sluice), []);
  assert.ok(await canBind(before.port));
  assert.deepEqual(await remoteBranches(checkout, url), { main: commit });

  const after = await sluice.status('shop');
  assert.deepEqual(pidsOf(after), pidsOf(production));
  assert.equal(await sluice.get('shop'), 'one');
  const tokens = await sluice.call<{ name: string }[]>('GET', '/v1/tokens');
  assert.ok(tokens.some(({ name }) => name === 'ci'));

  await checkout.git('push', url, 'main:develop');
  const again = await staging(sluice);
  assert.equal(again.release, 1);
  assert.deepEqual(await sluice.call('GET', '/v1/apps/shop/env?environment=staging'), {});
});

test('destroy shop@production leaves staging, and the last environment takes the repository and tokens along', async (t) => {
  const { sluice, checkout, url, commit } = await pushBoth(t);
  const before = await staging(sluice);
  await sluice.call('POST', '/v1/tokens', { name: 'ci', scopes: ['deploy'], app: 'shop' });
  await sluice.call('DELETE', '/v1/apps/shop?environment=production&confirm=shop@production');
  await assert.rejects(sluice.status('shop'), { code: 'app_not_found' });
  assert.deepEqual(pidsOf(await staging(sluice)), pidsOf(before));
  assert.deepEqual(await remoteBranches(checkout, url), { develop: commit });
  const last = await sluice.call('DELETE', '/v1/apps/shop?environment=staging&confirm=shop@staging');
  assert.deepEqual(last, { ...ofStaging, tokens: ['ci'], keys: [] });
  const tokens = await sluice.call<{ name: string }[]>('GET', '/v1/tokens');
  assert.ok(!tokens.some(({ name }) => name === 'ci'));
  assert.deepEqual(await readdir(sluice.paths.apps), []);
  await assert.rejects(sluice.call('DELETE', '/v1/apps/shop?environment=staging&confirm=shop@staging'), {
    code: 'app_not_found',
    message: 'app shop@staging not found',
  });
});

for (const moment of ['before', 'after']) {
  test(`a server that is killed right ${moment} the removal of an environment leaves no half of it`, async (t) => {
    const env = { NODE_OPTIONS: `--import=${preload}` };
    const { sluice, checkout, commit } = await pushBoth(t, env);
    const production = pidsOf(await sluice.status('shop'));
    await writeFile(join(sluice.home, 'crash-at'), moment);
    const call = sluice.call('DELETE', '/v1/apps/shop?environment=staging&confirm=shop@staging');
    await assert.rejects(call);
    await sluice.ended();
    await sluice.up(env);
    const url = sluice.gitUrl('shop');
    assert.deepEqual(pidsOf(await sluice.untilRunning('shop')), production);
    assert.deepEqual(await removals(sluice), []);
    if (moment === 'after') {
      await assert.rejects(staging(sluice), { code: 'app_not_found' });
      assert.deepEqual(await remoteBranches(checkout, url), { main: commit });
      return;
    }
    await waitFor(async () => (await staging(sluice)).state === 'running', { what: 'staging running' });
    assert.deepEqual(await remoteBranches(checkout, url), { main: commit, develop: commit });
  });
}
