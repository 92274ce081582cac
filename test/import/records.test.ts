import assert from 'node:assert/strict';
import { chown, readdir, writeFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { listRecords, loadRecord, saveRecord, type TakeoverRecord } from '../../src/import/records.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const record = (...names: string[]): TakeoverRecord => ({
  ...{ user: 'me', home: '/home/me/.pm2', ids: [0], names, port: 3000, files: [] },
  takenAt: '2026-11-30T05:00:00.000Z',
});

const ignore = () => {};

/** Keeps records of this test in a directory. */
async function recordsIn(t: TestContext, variable: 'HOME' | 'XDG_CONFIG_HOME'): Promise<string> {
  const directory = await temporaryDirectory(t);
  const { HOME, XDG_CONFIG_HOME } = process.env;
  t.after(() => Object.assign(process.env, { HOME, XDG_CONFIG_HOME: XDG_CONFIG_HOME ?? '' }));
  Object.assign(process.env, { XDG_CONFIG_HOME: '', [variable]: directory });
  return directory;
}

test('a takeover is found by the name of the app, and by those in PM2', async (t) => {
  await recordsIn(t, 'XDG_CONFIG_HOME');
  await saveRecord('my-front', record('My_Front', 'jobs'));
  await saveRecord('blog', record('blog', 'jobs'));
  await saveRecord('jobs-2', { ...record('Old'), undoneAt: '2026-11-30T06:00:00.000Z' });
  for (const name of ['my-front', 'My_Front']) assert.equal((await loadRecord(name, ignore)).app, 'my-front');
  await assert.rejects(loadRecord('jobs', ignore), /jobs is part of (?:my-front and blog|blog and my-front)/);
  await assert.rejects(loadRecord('Old', ignore), /jobs-2 has returned to PM2 already, at 2026-11-30T06/);
  await assert.rejects(loadRecord('other', ignore), /there is no record of a takeover of other/);
  assert.deepEqual([...(await listRecords()).keys()].sort(), ['blog', 'my-front']);
});

test('the records of a user are never in the home of another user', {
  skip: process.getuid?.() !== 0 && 'only root may give a directory away',
}, async (t) => {
  const home = await recordsIn(t, 'HOME');
  await saveRecord('shop', record('shop'));
  assert.deepEqual(await readdir(join(home, '.config/sluice/import')), ['shop.json']);
  await chown(home, 65_534, 65_534);
  await assert.rejects(loadRecord('other', ignore), ({ hint }: { hint: string }) => {
    assert.match(hint, new RegExp(`into ${userInfo().homedir}/\\.config/sluice/import`));
    return true;
  });
});

test('a takeover is found beside records that cannot be read', async (t) => {
  const home = await recordsIn(t, 'XDG_CONFIG_HOME');
  await saveRecord('shop', record('shop', 'jobs'));
  const directory = join(home, 'sluice/import');
  await writeFile(join(directory, 'blog.json'), '{');
  await writeFile(join(directory, 'docs.json'), JSON.stringify({ ...record('docs'), ofNewerVersion: true }));
  const remarks: string[] = [];
  const find = (name: string) => loadRecord(name, (text) => remarks.push(text));
  assert.equal((await find('shop')).app, 'shop');
  assert.deepEqual(remarks, []);
  assert.equal((await find('jobs')).app, 'shop');
  assert.deepEqual(
    remarks.map((text) => /takeover of (\w+) is left out: .*\w+\.json/.exec(text)?.[1]).sort(),
    ['blog', 'docs'],
  );
  await assert.rejects(find('blog'), { code: 'takeover_failed', message: /blog\.json is not valid JSON/ });
  await assert.rejects(find('docs'), {
    code: 'takeover_failed',
    message: /docs\.json has 1 fault:\n.*ofNewer/,
  });
  await assert.rejects(listRecords(), { code: 'takeover_failed' });
});
