import assert from 'node:assert/strict';
import { link, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { Paths } from '../../src/config/paths.ts';
import { directorySize, ensureSpace } from '../../src/releases/disk.ts';
import { noCommit } from '../../src/releases/release.ts';
import { ReleaseStore } from '../../src/releases/store.ts';
import { freeBytes } from '../../src/system/fs/files.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const KiB = 1024;
const MiB = 1024 ** 2;

test('the size of a directory is its disk space, with hard-linked files once', async (t) => {
  const directory = await temporaryDirectory(t);
  await mkdir(join(directory, 'sub'));
  const before = await directorySize(directory);
  await writeFile(join(directory, 'file'), Buffer.alloc(200 * KiB, 1));
  await link(join(directory, 'file'), join(directory, 'sub/same'));
  await symlink('/usr', join(directory, 'sub/link'));
  const grown = (await directorySize(directory)) - before;
  assert.ok(grown >= 200 * KiB && grown < 300 * KiB, `${grown} bytes`);
});

test('the error of a full disk has the free and needed space, and the largest retained releases', async (t) => {
  const home = await temporaryDirectory(t);
  const paths = new Paths(home).environment({ app: 'shop', environment: 'staging' });
  const store = new ReleaseStore({ app: 'shop', environment: 'staging' }, paths);
  for (const [index, sizeBytes] of [5 * MiB, 300 * MiB, 40 * MiB, 7 * MiB].entries()) {
    await store.allocate({ kind: 'upload', by: 'local', ...noCommit });
    await writeFile(join(paths.staged(index + 1).directory, 'server.js'), '');
    await store.publish(index + 1);
    await store.update(index + 1, { sizeBytes, liveAt: new Date().toISOString() });
  }
  await writeFile(paths.generation, '{"generation":1,"release":4}');
  const free = await freeBytes(home);
  await ensureSpace(home, { needed: MiB, minFree: 0, stores: async () => [store] });
  await assert.rejects(ensureSpace(home, { needed: free, minFree: 64 * MiB, stores: async () => [store] }), {
    code: 'disk_full',
    message:
      /^the disk of .* has .*[KMGT]iB of free space, but .*iB are needed, and 64 MiB must remain free$/,
    hint: /shop@staging release 2 \(300 MiB\), shop@staging release 3 \(40 MiB\), shop@staging release 1 \(5.0 MiB\)\. Lower "keepReleases"/,
  });
  await assert.rejects(ensureSpace(home, { needed: free * 2, minFree: 0, stores: async () => [] }), {
    code: 'disk_full',
    hint: 'Free disk space: no retained release can be removed.',
  });
});
