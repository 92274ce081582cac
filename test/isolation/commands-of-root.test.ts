import assert from 'node:assert/strict';
import { chmod, lstat, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { cli } from '../support/cli.ts';
import { Isolated, idsOf, withoutRoot } from '../support/isolated.ts';

/** Directory in which only root can make files. */
async function directoryOfRoot(t: { after(work: () => Promise<void>): void }): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'sluice-test-root-'));
  t.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

test('root runs no program that the server has put into its PATH', {
  skip: withoutRoot,
  timeout: 120_000,
}, async (t) => {
  const isolated = await Isolated.start(t);
  const { sluice } = isolated;
  const { home } = sluice;
  const server = await idsOf(isolated.owner);
  const script = `mkdir "$1/evil"; printf '%s\\n' '#!/bin/sh' 'echo "$(id -u) $(ps -o tty= -p $$)" >> '"$1/evil/seen" 'exec /usr/bin/git "$@"' > "$1/evil/git"; chmod 755 "$1/evil/git"`;
  await isolated.asServer(script, home);
  await sluice.kill();
  await sluice.up({ HOME: home, PATH: `${home}/evil:${process.env['PATH']}` });
  const { stdout } = await cli(['doctor', '--json'], { env: { SLUICE_HOME: home } });
  const { checks } = JSON.parse(stdout) as { checks: { name: string; message: string }[] };
  assert.match(checks.find(({ name }) => name === 'programs')?.message ?? '', /git \d/);
  const seen = new Set((await readFile(join(home, 'evil/seen'), 'utf8')).trim().split('\n'));
  assert.deepEqual([...seen], [`${server.uid} ?`]);
});

test('a link of the server does not redirect the lock of a backup (thorough)', {
  skip: withoutRoot,
  timeout: 120_000,
}, async (t) => {
  const isolated = await Isolated.start(t);
  const { sluice } = isolated;
  const { home, paths } = sluice;
  const root = await directoryOfRoot(t);
  const target = join(root, 'file');
  await sluice.stop();
  // A run directory of its own, too: what root made was given to whom that belonged.
  const script = 'mv "$1" "$1-moved"; mkdir -m 700 "$1"; ln -s "$2" "$1/server.lock"';
  await isolated.asServer(script, paths.run, target);
  const { code } = await cli(['backup', join(root, 'backup.tar.gz')], { env: { SLUICE_HOME: home } });
  assert.notEqual(code, 0);
  await assert.rejects(lstat(target), { code: 'ENOENT' });
});

test('a restore follows no link of the server, and gives all files to their owners (thorough)', {
  skip: withoutRoot,
  timeout: 120_000,
}, async (t) => {
  const isolated = await Isolated.start(t);
  const { sluice } = isolated;
  const { home, paths } = sluice;
  const server = await idsOf(isolated.owner);
  const root = await directoryOfRoot(t);
  const secret = join(root, 'secret');
  await chmod(root, 0o755);
  await writeFile(secret, 'of root alone\n', { mode: 0o600 });
  await sluice.deploy('shop', {
    'sluice.json': { shared: ['data'], settleTime: 100, workers: 1 },
    'data/kept': 'kept',
    'server.js': `require('node:http').createServer((_, response) =>
      response.end(require('node:fs').readFileSync('data/kept', 'utf8'))).listen(process.env.PORT);`,
  });
  await isolated.asServer('mkdir -p "$1/edge"; echo planted > "$1/edge/secret"', home);
  const env = { SLUICE_HOME: home };
  const file = join(root, 'backup.tar.gz');
  const backup = await cli(['backup', file, '--releases'], { env });
  assert.equal(backup.code, 0, backup.stderr);
  await sluice.stop();
  await isolated.asServer(
    'mv "$1/edge" "$1/edge-moved"; ln -s "$2" "$1/edge"; rm -f "$1/events.jsonl"; ln -s "$3" "$1/events.jsonl"',
    home,
    root,
    secret,
  );
  const led = await cli(['restore', file, '--force'], { env });
  assert.notEqual(led.code, 0);
  assert.equal(await readFile(secret, 'utf8'), 'of root alone\n');
  await isolated.asServer('rm "$1/events.jsonl"', home);
  const ledOn = await cli(['restore', file, '--force'], { env });
  assert.notEqual(ledOn.code, 0);
  assert.equal(await readFile(secret, 'utf8'), 'of root alone\n');

  await isolated.asServer('rm "$1/edge"', home);
  const restored = await cli(['restore', file, '--force'], { env });
  assert.equal(restored.code, 0, restored.stderr);
  await isolated.startRunner();
  await sluice.up({ HOME: home });
  await sluice.untilRunning('shop');
  assert.equal(await sluice.get('shop'), 'kept');
  const { uid } = await idsOf(`${isolated.owner}_shop`);
  const { shared, directory } = paths.environment({ app: 'shop', environment: 'production' });
  assert.equal((await lstat(join(shared, 'data/kept'))).uid, uid);
  for (const path of [paths.app('shop'), directory]) assert.equal((await lstat(path)).uid, server.uid);
});
