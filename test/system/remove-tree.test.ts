import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmod, chown, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { temporaryDirectory } from '../support/temporary.ts';

const script = `
  const { removeTree } = await import(process.argv[1]);
  const { directorySize } = await import(process.argv[2]);
  const { chmodSync, mkdirSync, writeFileSync, existsSync } = await import('node:fs');
  mkdirSync('tree/read-only/below', { recursive: true });
  writeFileSync('tree/read-only/below/file', 'x'.repeat(10_000));
  for (const path of ['tree/read-only/below', 'tree/read-only']) chmodSync(path, 0o555);
  mkdirSync('tree/listable/below', { recursive: true });
  chmodSync('tree/listable', 0o444);
  for (let n = 0; n < 300; n += 1) writeFileSync('tree/' + n, '');
  mkdirSync('tree/closed', { mode: 0 });
  const size = await directorySize(process.cwd() + '/tree');
  // So deep that no path leads to the last directories.
  const top = process.cwd();
  process.chdir('tree');
  for (let depth = 0; depth < 3000; depth += 1) {
    mkdirSync('deep');
    process.chdir('deep');
  }
  process.chdir(top);
  await removeTree('tree');
  await removeTree('tree');
  console.log(size > 10_000, existsSync('tree'));
`;

/** Root may remove and read anything: the test is for the others. */
const nobody = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {};

test('a tree with read-only, closed and very deep directories is measured and removed', async (t) => {
  const directory = await temporaryDirectory(t);
  await chmod(directory, 0o777);
  const modules = ['system/fs/remove-tree.ts', 'releases/disk.ts'].map((name) =>
    fileURLToPath(new URL(name, new URL('../../src/', import.meta.url))),
  );
  const argv = ['--input-type=module', '-e', script, ...modules];
  const { stdout, stderr } = spawnSync(process.execPath, argv, { cwd: directory, ...nobody });
  assert.equal(stdout.toString(), 'true false\n', stderr.toString());
});

const onlyRoot = { skip: process.getuid?.() !== 0 && 'only root may mount and protect files' };

const removal = `
  const { removeTree } = await import(process.argv[1]);
  await removeTree(process.argv[2]).catch(({ code }) => console.log(code));
`;
const module = fileURLToPath(new URL('../../src/system/fs/remove-tree.ts', import.meta.url));
const remove = (tree: string) => [process.execPath, '--input-type=module', '-e', removal, module, tree];

test('nothing is removed from a file system that is mounted in a tree', onlyRoot, async (t) => {
  const directory = await temporaryDirectory(t);
  const [tree, other] = [join(directory, 'a tree'), join(directory, 'other')];
  await mkdir(join(tree, 'below/mount'), { recursive: true });
  await mkdir(other);
  await writeFile(join(other, 'file'), '');
  // Only the new process sees the mount.
  const mounted = 'mount --bind "$1" "$2" || exit 77; shift 2; exec "$@"';
  const argv = ['-m', '/bin/sh', '-c', mounted, 'sh', other, join(tree, 'below/mount'), ...remove(tree)];
  const { status, stdout, stderr } = spawnSync('unshare', argv, { encoding: 'utf8' });
  if (status === 77 || stderr.startsWith('unshare: ')) return t.skip('this container may not mount');
  assert.deepEqual([stdout, await readdir(other)], ['EBUSY\n', ['file']], stderr);
});

test('a file that the system protects is reported', onlyRoot, async (t) => {
  const directory = await temporaryDirectory(t);
  const tree = join(directory, 'tree');
  // In a directory with the sticky bit, only the owner may remove a file.
  await mkdir(join(tree, 'sticky'), { recursive: true });
  await writeFile(join(tree, 'sticky/file'), '');
  await chmod(join(tree, 'sticky'), 0o1777);
  await chown(tree, 65534, 65534);
  for (const each of [directory, tree]) await chmod(each, 0o777);
  const [program = '', ...argv] = remove(tree);
  assert.equal(spawnSync(program, argv, { uid: 65534, gid: 65534 }).stdout.toString(), 'EPERM\n');
});
