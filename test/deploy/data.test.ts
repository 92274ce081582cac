import assert from 'node:assert/strict';
import { lstat, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { running } from '../support/apps.ts';
import { startSluice } from '../support/server.ts';

/** App that keeps a SQLite database and uploads in its own tree. */
const keeper = `
  const { DatabaseSync } = require('node:sqlite');
  const { mkdirSync, readdirSync, writeFileSync } = require('node:fs');
  const db = new DatabaseSync('todo.db');
  db.exec('PRAGMA journal_mode = WAL; CREATE TABLE IF NOT EXISTS todo (what)');
  mkdirSync('uploads', { recursive: true });
  require('node:http').createServer((request, response) => {
    const what = request.url.slice(1);
    if (what !== '') {
      db.prepare('INSERT INTO todo VALUES (?)').run(what);
      writeFileSync('uploads/' + what, '');
    }
    const rows = db.prepare('SELECT what FROM todo').all().map((row) => row.what);
    response.end(rows + ' ' + readdirSync('uploads'));
  }).listen(process.env.PORT);
`;

test('data that an app keeps in its release', async (t) => {
  const sluice = await startSluice(t);
  const shared = ['todo.db', 'uploads'];

  await t.test('a deploy names files of the live release that the next release does not get', async () => {
    await sluice.deploy('left', running(keeper));
    await sluice.get('left', '/milk');
    const { notices } = await sluice.deploy('left', running(keeper));
    const [notice] = notices.filter(({ code }) => code === 'data_left_behind');
    assert.equal(
      notice?.message,
      'release 1 wrote todo.db, uploads/ since it went live; the new release does not get these files',
    );
    assert.match(notice?.hint ?? '', /"shared".*sluice rollback left 1/);
    assert.equal(await sluice.get('left'), ' ');
  });

  await t.test('a rollback, as the notice says, brings the data into the next release', async () => {
    await sluice.rollback('left', 1);
    await sluice.deploy('left', running(keeper, { shared }));
    assert.equal(await sluice.get('left'), 'milk milk');
  });

  await t.test('a path that becomes shared is taken from the live release, without a notice', async () => {
    await sluice.deploy('kept', running(keeper));
    await sluice.get('kept', '/milk');
    const brought = { ...running(keeper, { shared }), 'uploads/brought': '' };
    const { notices } = await sluice.deploy('kept', brought);
    assert.deepEqual(notices, []);
    assert.equal(await sluice.get('kept', '/bread'), 'milk,bread bread,milk');
    const { releases } = sluice.paths.environment({ app: 'kept', environment: 'production' });
    const log = await readFile(join(releases, '2/.sluice/build.log'), 'utf8');
    assert.match(log, /^shared from now on, as release 1 left it: todo\.db, uploads$/m);
  });

  await t.test('after a rollback, the former release has the shared data, too', async () => {
    await sluice.rollback('kept', 1);
    assert.equal(await sluice.get('kept', '/eggs'), 'milk,bread,eggs bread,eggs,milk');
    await sluice.rollback('kept', 2);
    assert.equal(await sluice.get('kept'), 'milk,bread,eggs bread,eggs,milk');
  });

  await t.test('a notice names files that cannot be shared because the shared path exists', async () => {
    await sluice.deploy('both', running(keeper, { shared: ['uploads'] }));
    await sluice.deploy('both', running(keeper));
    await sluice.get('both', '/milk');
    const { notices } = await sluice.deploy('both', running(keeper, { shared }));
    assert.match(notices[0]?.message ?? '', /^release 2 wrote uploads\/ since/);
  });

  await t.test('a deploy that fails later takes nothing from the live release', async () => {
    await sluice.deploy('live', running(keeper));
    await sluice.get('live', '/milk');
    await assert.rejects(sluice.deploy('live', running('process.exit(1)', { shared })));
    assert.equal(await sluice.get('live', '/bread'), 'milk,bread bread,milk');
    const { releases } = sluice.paths.environment({ app: 'live', environment: 'production' });
    assert.ok((await lstat(join(releases, '1/uploads'))).isSymbolicLink());
    await sluice.deploy('live', running(keeper, { shared }));
    assert.equal(await sluice.get('live'), 'milk,bread bread,milk');
  });
});
