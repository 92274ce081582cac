import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { lstat, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { cli } from '../support/cli.ts';
import { Isolated, idsOf, withoutRoot } from '../support/isolated.ts';

const run = promisify(execFile);

/** What only root can make a file in. */
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
  const script = `set -e; mkdir "$1/evil"; printf '%s\\n' '#!/bin/sh' 'echo "$(id -u) $(ps -o tty= -p $$)" >> '"$1/evil/seen" 'exec /usr/bin/git "$@"' > "$1/evil/git"; chmod 755 "$1/evil/git"`;
  await run('/bin/sh', ['-c', script, 'sh', home], { cwd: '/', ...server });
  await sluice.kill();
  await sluice.up({ HOME: home, PATH: `${home}/evil:${process.env['PATH']}` });
  const { stdout } = await cli(['doctor', '--json'], { env: { SLUICE_HOME: home } });
  const { checks } = JSON.parse(stdout) as { checks: { name: string; message: string }[] };
  assert.match(checks.find(({ name }) => name === 'programs')?.message ?? '', /git \d/);
  const seen = new Set((await readFile(join(home, 'evil/seen'), 'utf8')).trim().split('\n'));
  assert.deepEqual([...seen], [`${server.uid} ?`]);
});

test('no lock of a backup is a file that the server has led root to', {
  skip: withoutRoot,
  timeout: 120_000,
}, async (t) => {
  const isolated = await Isolated.start(t);
  const { sluice } = isolated;
  const { home, paths } = sluice;
  const server = await idsOf(isolated.owner);
  const root = await directoryOfRoot(t);
  const target = join(root, 'file');
  await sluice.stop();
  // A run directory of its own, too: what root made was given to whom that belonged.
  const script = 'set -e; mv "$1" "$1-moved"; mkdir -m 700 "$1"; ln -s "$2" "$1/server.lock"';
  await run('/bin/sh', ['-c', script, 'sh', paths.run, target], { cwd: '/', ...server });
  const { code } = await cli(['backup', join(root, 'backup.tar.gz')], { env: { SLUICE_HOME: home } });
  assert.notEqual(code, 0);
  await assert.rejects(lstat(target), { code: 'ENOENT' });
});
