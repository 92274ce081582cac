import assert from 'node:assert/strict';
import { chmod, chown, link, lstat, mkdir, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type TestContext, test } from 'node:test';
import { list } from 'tar';
import { Paths } from '../../src/config/paths.ts';
import { cli } from '../support/cli.ts';
import { withoutRoot } from '../support/isolated.ts';
import { temporaryDirectory } from '../support/temporary.ts';

/** User of the server, which does not run here. */
const uid = 47_001;
const below = 'apps/shop/production';
const state = { port: 9001, desired: 'running', workers: null, createdAt: '2026-01-01T00:00:00.000Z' };

interface Home {
  home: string;
  /** directory that only root can read and change */
  ofRoot: string;
  backup: () => Promise<{ code: number | null; stderr: string; names: string[] }>;
}

/** Creates a home with an app. Nothing runs in it. */
async function homeOfServer(t: TestContext): Promise<Home> {
  const directory = await temporaryDirectory(t);
  await chmod(directory, 0o755);
  const home = join(directory, 'home');
  const {
    shared,
    releases,
    state: stateFile,
  } = new Paths(home).environment({ app: 'shop', environment: 'production' });
  for (const path of [shared, releases]) await mkdir(path, { recursive: true });
  await writeFile(join(shared, 'kept'), 'kept');
  await writeFile(stateFile, JSON.stringify(state));
  await giveAll(home);
  const ofRoot = join(directory, 'of-root');
  for (const path of ['home', 'shared', '1/.sluice', 'production/home']) {
    await mkdir(join(ofRoot, path), { recursive: true });
    await writeFile(join(ofRoot, path, 'secret'), 'of root alone', { mode: 0o600 });
  }
  for (const path of ['app.json', 'production/app.json'])
    await writeFile(join(ofRoot, path), JSON.stringify(state));
  const file = join(directory, 'backup.tar.gz');
  const backup = async () => {
    await rm(file, { force: true });
    const { code, stderr } = await cli(['backup', file], { env: { SLUICE_HOME: home } });
    const names: string[] = [];
    if (code === 0) await list({ file, onReadEntry: ({ path }) => names.push(path) });
    return { code, stderr, names };
  };
  return { home, ofRoot, backup };
}

async function giveAll(directory: string): Promise<void> {
  await chown(directory, uid, uid);
  for (const entry of await readdir(directory, { recursive: true }))
    await chown(join(directory, entry), uid, uid);
}

test('a backup by root follows no directory that the server has replaced by a link', {
  skip: withoutRoot,
}, async (t) => {
  const { home, ofRoot, backup } = await homeOfServer(t);
  const whole = await backup();
  assert.equal(whole.code, 0, whole.stderr);
  assert.ok(whole.names.includes(`${below}/shared/kept`));
  for (const path of [below, 'apps/shop']) {
    const at = join(home, path);
    await rename(at, `${at}-moved`);
    await symlink(ofRoot, at);
    const refused = await backup();
    assert.equal(refused.code, 1, refused.names.join('\n'));
    assert.match(refused.stderr, /app\.json of shop is missing, or its path leads through a link/);
    await rm(at);
    await rename(`${at}-moved`, at);
  }
  await rm(join(home, below, 'releases'), { recursive: true });
  await symlink(ofRoot, join(home, below, 'releases'));
  await symlink(ofRoot, join(home, below, 'home'));
  const { code, stderr, names } = await backup();
  assert.equal(code, 0, stderr);
  assert.deepEqual(
    names.filter((name) => name.endsWith('secret')),
    [],
  );
  assert.match(stderr, /left out, since it is a link: apps\/shop\/production\/home/);
});

test('a file of root that was linked hard into an app is left out, with a note', {
  skip: withoutRoot,
}, async (t) => {
  const { home, ofRoot, backup } = await homeOfServer(t);
  // An app could do so if fs.protected_hardlinks is 0.
  await link(join(ofRoot, 'home/secret'), join(home, below, 'shared/mine'));
  const { code, stderr, names } = await backup();
  assert.equal(code, 0, stderr);
  assert.match(
    stderr,
    /left out, since it has another name elsewhere, and belongs to another user: .*shared\/mine/,
  );
  assert.ok(!names.includes(`${below}/shared/mine`));
});

test('SQLite copies a database as its owner, never as root, and removes its copy', {
  skip: withoutRoot,
}, async (t) => {
  const { home, backup } = await homeOfServer(t);
  for (const [name, owner] of [
    ['own.db', uid],
    ['of-root.db', 0],
  ] as const) {
    const path = join(home, below, 'shared', name);
    using database = new DatabaseSync(path);
    database.exec('CREATE TABLE notes (text)');
    await chown(path, owner, owner);
  }
  const { code, stderr, names } = await backup();
  assert.equal(code, 0, stderr);
  assert.match(stderr, /copied without SQLite.*it belongs neither to the app nor to Sluice.*of-root\.db/);
  assert.doesNotMatch(stderr, /own\.db/);
  for (const name of ['own.db', 'of-root.db']) assert.ok(names.includes(`${below}/shared/${name}`));
  assert.deepEqual(await readdir(home), ['apps']);
  assert.equal((await lstat(join(home, below, 'shared/own.db'))).uid, uid);
});
