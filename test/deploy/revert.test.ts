import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { answering, running } from '../support/apps.ts';
import { cli } from '../support/cli.ts';
import { Checkout, remoteBranches } from '../support/git.ts';
import { startSluice } from '../support/server.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';
import { wholeFile } from '../support/whole-file.ts';

const sluice = await startSluice(wholeFile);

/** An app whose workers end at a request for /end. */
const endingWith = (settings: Record<string, unknown> = {}) =>
  running(
    `
  require('node:http').createServer((request, response) => {
    if (request.url === '/end') process.exit(1);
    response.end('bad');
  }).listen(process.env.PORT);
`,
    settings,
  );
const ending = endingWith();

/** Ends the workers of an app until it is reverted. */
async function endWorkers(url: string, isReverted: () => Promise<boolean>): Promise<void> {
  await waitFor(async () => {
    await fetch(`${url}/end`, { headers: { connection: 'close' } }).catch(() => undefined);
    return isReverted();
  });
}

const states = async (app: string) => (await sluice.releases(app)).map(({ state }) => state);

test('a worse release that was pushed is reverted: in the status, the history and the branch', async (t) => {
  const checkout = await Checkout.create(t);
  const url = sluice.gitUrl('pushed');
  const good = await checkout.commit('Good', answering('good'));
  await checkout.git('push', url, 'main');
  await checkout.commit('Bad', ending);
  await checkout.git('push', url, 'main');
  const { url: address } = await sluice.status('pushed');
  await endWorkers(address ?? '', async () => (await sluice.status('pushed')).release === 1);
  assert.equal(await sluice.get('pushed'), 'good');
  await waitFor(async () => (await states('pushed'))[0] === 'reverted');
  assert.deepEqual(await states('pushed'), ['reverted', 'live']);
  const { reverted } = await sluice.status('pushed');
  assert.equal(reverted?.release, 2);
  assert.match(reverted?.reason ?? '', /died within/);
  await waitFor(async () => (await remoteBranches(checkout, url))['main'] === good);
  const events = (await readFile(sluice.paths.events, 'utf8')).trimEnd().split('\n');
  const last = events
    .map((line) => JSON.parse(line))
    .filter(({ app }) => app === 'pushed')
    .at(-1);
  assert.deepEqual(
    [last.action, last.by, last.release, last.reason],
    ['revert', 'sluice', 2, reverted?.reason],
  );

  // A rollback chooses no reverted release, and a person may go live with it again.
  await checkout.commit('Better', answering('better'));
  await checkout.git('push', url, 'main');
  assert.equal((await sluice.rollback('pushed')).number, 1);
  assert.equal((await sluice.rollback('pushed', 2)).state, 'live');
});

test('sluice deploy --watch waits, and fails if the release is reverted', async (t) => {
  const checkout = await Checkout.create(t);
  await checkout.commit('Good', answering('good', { watchTime: '1s' }));
  const env = { SLUICE_HOME: sluice.home };
  const watch = () => cli(['deploy', checkout.directory, '--app', 'watched', '--watch'], { env });
  const first = await watch();
  assert.equal(first.code, 0, first.stderr);
  await checkout.commit('Bad', ending);
  const second = watch();
  await waitFor(async () => {
    const [newest] = await sluice.releases('watched');
    return newest?.number === 2 && newest.state === 'live';
  });
  const { url } = await sluice.status('watched');
  await endWorkers(url ?? '', async () => (await sluice.status('watched')).release === 1);
  const { code, stderr } = await second;
  assert.equal(code, 1);
  assert.match(stderr, /^failed: release 2 was reverted: .*died within/);
});

test('a change of variables that spans an automatic rollback does not bring the worse release back', async (t) => {
  const gate = join(await temporaryDirectory(t), 'open');
  const bad = running(`
    const { existsSync } = require('node:fs');
    const server = require('node:http').createServer((request, response) => {
      if (request.url === '/end') process.exit(1);
      response.end('bad');
    });
    const timer = setInterval(() => {
      if (process.env.GATE && !existsSync(process.env.GATE)) return;
      clearInterval(timer);
      server.listen(process.env.PORT);
    }, 20);
  `);
  await sluice.deploy('raced', answering('good'));
  const { url } = await sluice.deploy('raced', bad);
  const refused = assert.rejects(sluice.call('PATCH', '/v1/apps/raced/env', { GATE: gate }), {
    code: 'switch_failed',
  });
  await waitFor(async () => (await sluice.status('raced')).workers.some(({ state }) => state === 'booting'));
  await endWorkers(url, async () => (await sluice.status('raced')).release === 1);
  await writeFile(gate, '');
  await refused;
  assert.equal(await sluice.get('raced'), 'good');
  assert.deepEqual(await sluice.call('GET', '/v1/apps/raced/env'), {});
});

test('a release is reverted while the server is down, and the next server records it', async () => {
  await sluice.deploy('alone', answering('good'));
  const { url } = await sluice.deploy('alone', ending);
  await sluice.kill();
  const answer = async () => (await fetch(url, { headers: { connection: 'close' } })).text();
  await endWorkers(url, async () => (await answer().catch(() => '')) === 'good');
  await sluice.up();
  assert.deepEqual(await states('alone'), ['reverted', 'live']);
  assert.equal((await sluice.status('alone')).reverted?.release, 2);
});

test('the server is restarted before a release is reverted, and keeps and records what the return needs', async () => {
  const settings = { keepWarm: 0, keepReleases: 2 };
  await sluice.deploy('kept', answering('good', settings));
  await sluice.deploy('kept', answering('good', settings));
  await sluice.rollback('kept');
  const { url } = await sluice.deploy('kept', endingWith(settings));
  await sluice.kill();
  await sluice.up();
  await endWorkers(url, async () => (await sluice.status('kept')).release === 1);
  await waitFor(async () => (await states('kept'))[0] === 'reverted');
});
