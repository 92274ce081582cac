import assert from 'node:assert/strict';
import { lstatSync, mkdirSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { type TestContext, test } from 'node:test';
import { usualLimits } from '../../src/backup/limits.ts';
import { type Found, walk } from '../../src/backup/walk.ts';
import { temporaryDirectory } from '../support/temporary.ts';

/** Walks through a directory, which `meanwhile` changes whenever the walk has found an entry. */
async function found(directory: string, meanwhile: (found: Found) => void, limits = usualLimits) {
  const files = new Map<string, string>();
  const unfit = new Map<string, string>();
  const all: string[] = [];
  for await (const each of walk(directory, 3000, limits)) {
    if (each.path === '') continue;
    all.push(each.path);
    if (each.kind === 'file') files.set(each.path, await each.handle.readFile('utf8'));
    if (each.kind === 'unfit') unfit.set(each.path, each.why);
    meanwhile(each);
  }
  return { files, unfit, all };
}

/** Creates files whose content is their path, and a directory outside of the walk. */
async function filesOf(t: TestContext, paths: string[]): Promise<{ directory: string; outside: string }> {
  const parent = await temporaryDirectory(t);
  const directory = join(parent, 'directory');
  const outside = join(parent, 'outside');
  mkdirSync(outside);
  for (const path of paths) write(directory, path);
  return { directory, outside };
}

function write(directory: string, path: string): void {
  mkdirSync(dirname(join(directory, path)), { recursive: true });
  writeFileSync(join(directory, path), path);
}

test('a directory that is moved ahead of the walk is read once, with a note for each other path', async (t) => {
  const { directory } = await filesOf(t, [
    'n0/T/file',
    ...[1, 2, 3, 4, 5, 6].map((index) => `n${index}/other`),
  ]);
  const { files, unfit } = await found(directory, ({ path }) => {
    const next = /^n(\d)$/.exec(path)?.[1];
    if (next !== undefined && next !== '0')
      renameSync(join(directory, `n${Number(next) - 1}/T`), join(directory, path, 'T'));
  });
  assert.deepEqual([...files.keys()], ['n0/T/file', ...[1, 2, 3, 4, 5, 6].map((index) => `n${index}/other`)]);
  assert.deepEqual(
    [...unfit],
    [1, 2, 3, 4, 5, 6].map((index) => [`n${index}/T`, 'it was visited already, by another path']),
  );
});

test('a new directory with the number of a removed one is read', async (t) => {
  const { directory } = await filesOf(t, ['a/file', 'b/file']);
  // Until the file system reuses the number.
  let last = '';
  const { files } = await found(directory, ({ path }) => {
    if (path !== 'b') return;
    const { ino } = lstatSync(join(directory, 'a'));
    renameSync(join(directory, 'a/file'), join(directory, 'b/moved'));
    renameSync(join(directory, 'a'), join(directory, 'b/empty'));
    for (let count = 0; count < 100; count += 1) {
      last = `b/new-${count}`;
      write(directory, `${last}/file`);
      if (lstatSync(join(directory, last)).ino === ino) break;
    }
  });
  assert.equal(files.get(`${last}/file`), `${last}/file`);
});

for (const [limit, why] of [
  ['directories', /^it comes after 50 directories$/],
  ['entries', /^it and all that follow come after 50 entries$/],
] as const)
  test(`the walk ends at its limit of ${limit} if an app makes directories without end`, async (t) => {
    const { directory } = await filesOf(t, ['start/file']);
    let count = 0;
    const makeTwo = ({ kind, path }: Found) => {
      if (kind !== 'directory') return;
      count += 1;
      assert.ok(count < 1000, 'the walk does not end');
      for (const name of ['1', '2']) mkdirSync(join(directory, path, name), { recursive: true });
    };
    const { unfit } = await found(directory, makeTwo, { ...usualLimits, [limit]: 50 });
    assert.ok(count > 20);
    assert.ok(unfit.size > 0);
    for (const each of unfit.values()) assert.match(each, why);
  });

test('names beyond the memory limit are left out, with a note', async (t) => {
  const names = Array.from({ length: 300 }, (_, index) => `many/${index}/file`);
  const { directory } = await filesOf(t, names);
  const { files, unfit } = await found(directory, () => undefined, { ...usualLimits, memory: 64 * 1024 });
  assert.equal(files.size, 300);
  assert.deepEqual([...unfit], []);
  const small = await found(directory, () => undefined, { ...usualLimits, memory: 4096 });
  assert.ok(small.files.size < 150, `${small.files.size} files`);
  assert.match(small.unfit.get('many') ?? '', /^only \d+ names of this directory fit into memory$/);
});

test('the walk continues in directories that are moved, and not in those that replace them', async (t) => {
  const { directory, outside } = await filesOf(t, ['u/a/x/y/file', 'u/a/zz3', 'u/zz1', 'u/zz2', 'v/file']);
  const { files, unfit } = await found(directory, ({ path }) => {
    if (path !== 'u/a/x/y/file') return;
    renameSync(join(directory, 'u/a/x/y'), join(outside, 'y'));
    renameSync(join(directory, 'u/a'), join(outside, 'a'));
    write(directory, 'u/a/zz1');
  });
  assert.deepEqual(
    [...files],
    ['u/a/x/y/file', 'u/a/zz3', 'u/zz1', 'u/zz2', 'v/file'].map((path) => [path, path]),
  );
  assert.deepEqual([...unfit], []);
});

test('the walk finds each file that stays, and only existing entries, while directories move at random', async (t) => {
  for (let seed = 1; seed <= 40; seed += 1) {
    const random = randomOf(seed);
    const any = (from: string[]) => from[Math.floor(random() * from.length)];
    const paths = ['a', 'b', 'c'].flatMap((top) =>
      ['d', 'e', 'f'].flatMap((middle) => ['g', 'h'].map((low) => `${top}/${middle}/${low}/file`)),
    );
    const stay = ['a', 'b', 'c', 'a/d', 'b/e', 'c/f'].map((path) => `${path}/zz`);
    const { directory, outside } = await filesOf(t, [...paths, ...stay]);
    const been = new Set<string>();
    const numbers = new Map([['.', lstatSync(directory).ino]]);
    remember(directory, been);
    let moves = 0;
    const move = (from: string) => {
      const all = directoriesIn(directory);
      const isMovable = all.includes(from) && !stay.some((file) => file.startsWith(`${from}/`));
      const to = any(all.filter((path) => !`${path}/`.startsWith(`${from}/`)));
      if (!isMovable || to === undefined) return;
      moves += 1;
      const isAway = random() < 0.5;
      renameSync(join(directory, from), join(isAway ? outside : join(directory, to), `m${moves}`));
      // Another directory with files of the same names replaces it.
      for (const name of ['file', 'zz', 'd/file']) write(directory, `${from}/${name}`);
      remember(directory, been);
    };
    const { files, unfit } = await found(directory, (each) => {
      if (each.kind === 'unfit') return;
      const { ino } = each.stats;
      numbers.set(each.path, ino);
      const parent = numbers.get(dirname(each.path));
      assert.ok(
        been.has(`${parent} ${basename(each.path)} ${ino}`),
        `seed ${seed}: ${each.path} was never there`,
      );
      // The walk is about to open a directory that it has just found: this test must not replace it.
      if (each.kind !== 'file' || moves > 15 || random() < 0.5) return;
      // The directory that the walk is in, and one on the way back, or any other.
      const here = dirname(each.path);
      move(here);
      move((random() < 0.7 ? dirname(here) : any(directoriesIn(directory))) ?? here);
    });
    for (const path of stay) assert.equal(files.get(path), path, `seed ${seed}: ${path} is missing`);
    for (const why of unfit.values()) assert.equal(why, 'it was visited already, by another path');
  }
});

function directoriesIn(directory: string): string[] {
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isDirectory())
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)))
    .sort();
}

/** Adds all current entries: number of the parent, name, own number. No number is reused, since nothing is removed. */
function remember(directory: string, been: Set<string>): void {
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    const { ino } = lstatSync(join(entry.parentPath, entry.name));
    been.add(`${lstatSync(entry.parentPath).ino} ${entry.name} ${ino}`);
  }
}

/** Returns random numbers from 0 to 1 that are the same for each seed. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) / 2 ** 24;
  };
}
