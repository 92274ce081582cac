import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { answering, running } from '../support/apps.ts';
import { startSluice } from '../support/server.ts';
import { untilRemoved } from '../support/tree.ts';
import { waitFor } from '../support/wait.ts';

test('releases and rollbacks', async (t) => {
  const sluice = await startSluice(t);

  await t.test('a second upload replaces the first, and a rollback restores the first', async () => {
    assert.equal((await sluice.deploy('shop', answering('one'))).state, 'live');
    assert.equal(await sluice.get('shop'), 'one');
    assert.equal((await sluice.deploy('shop', answering('two'))).number, 2);
    assert.equal(await sluice.get('shop'), 'two');
    const back = await sluice.rollback('shop');
    assert.deepEqual([back.number, back.state], [1, 'live']);
    assert.equal(await sluice.get('shop'), 'one');
    const { current } = sluice.paths.environment({ app: 'shop', environment: 'production' });
    assert.equal(await readlink(current), join('releases', '1'));
  });

  await t.test('a rollback to a newer release works, too', async () => {
    assert.equal((await sluice.rollback('shop', 2)).number, 2);
    assert.equal(await sluice.get('shop'), 'two');
  });

  await t.test(
    'a rollback to a release that never was live is refused, and the hint names others',
    async () => {
      await assert.rejects(sluice.deploy('shop', running('process.exit(1)')));
      await assert.rejects(sluice.rollback('shop', 3), {
        code: 'nothing_to_roll_back_to',
        message: 'release 3 never was live',
        hint: 'Releases that shop can go back to: 1.',
      });
    },
  );

  await t.test('a rollback to a missing release is refused', async () => {
    await assert.rejects(sluice.rollback('shop', 77), { code: 'release_not_found' });
    await assert.rejects(sluice.rollback('nobody'), { code: 'app_not_found' });
  });

  await t.test('a rollback of an app with one release is refused', async () => {
    await sluice.deploy('solo', answering('one'));
    await assert.rejects(sluice.rollback('solo'), { code: 'nothing_to_roll_back_to' });
  });

  await t.test('an app keeps as many releases as it sets, and the records of all', async () => {
    for (const text of ['one', 'two', 'three', 'four']) {
      await sluice.deploy('kept', answering(text, { keepReleases: 2 }));
    }
    const states = (await sluice.releases('kept')).map(({ state }) => state);
    assert.deepEqual(states, ['live', 'retained', 'removed', 'removed']);
    const { releases } = sluice.paths.environment({ app: 'kept', environment: 'production' });
    await untilRemoved(join(releases, '1'));
    await assert.rejects(sluice.rollback('kept', 1), { code: 'nothing_to_roll_back_to' });
  });

  await t.test('shared paths outlive releases', async () => {
    const appends = `
      const { appendFileSync, readFileSync } = require('node:fs');
      require('node:http').createServer((request, response) => {
        if (request.url === '/add') appendFileSync('data/book', 'x');
        response.end(readFileSync('data/book'));
      }).listen(process.env.PORT);
    `;
    const files = { ...running(appends, { shared: ['data', 'log.txt'] }), 'data/book': 'first ' };
    await sluice.deploy('book', files);
    assert.equal(await sluice.get('book', '/add'), 'first x');
    await sluice.deploy('book', { ...files, 'data/book': 'not this one' });
    assert.equal(await sluice.get('book'), 'first x');
    const { shared } = sluice.paths.environment({ app: 'book', environment: 'production' });
    assert.equal(await readFile(join(shared, 'data/book'), 'utf8'), 'first x');
  });

  await t.test('a destroyed app leaves nothing, and its name is free again', async () => {
    const { workers } = await sluice.status('book');
    await sluice.call('DELETE', '/v1/apps/book?confirm=book');
    await assert.rejects(sluice.status('book'), { code: 'app_not_found' });
    assert.ok(!existsSync(sluice.paths.app('book')));
    assert.ok(!(await readdir(sluice.home)).some((name) => name.startsWith('.removing')));
    for (const { pid } of workers) {
      await waitFor(() => !existsSync(`/proc/${pid}`), { what: `the end of worker ${pid}` });
    }
    assert.equal((await sluice.deploy('book', answering('again'))).number, 1);
  });

  await t.test('the history has all changes', async () => {
    const lines = (await readFile(sluice.paths.events, 'utf8')).trim().split('\n');
    const events = lines.map((line) => JSON.parse(line)).filter(({ app }) => app === 'shop');
    assert.deepEqual(
      events.map(({ by, action, release, outcome, code }) => ({ by, action, release, outcome, code })),
      [
        { action: 'deploy', release: 1, outcome: 'done' },
        { action: 'deploy', release: 2, outcome: 'done' },
        { action: 'rollback', release: 1, outcome: 'done' },
        { action: 'rollback', release: 2, outcome: 'done' },
        { action: 'deploy', release: 3, outcome: 'failed', code: 'boot_exited' },
        { action: 'rollback', outcome: 'failed', code: 'nothing_to_roll_back_to' },
        { action: 'rollback', outcome: 'failed', code: 'release_not_found' },
      ].map((event) => ({ by: 'test', release: undefined, code: undefined, ...event })),
    );
  });
});
