import assert from 'node:assert/strict';
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { createReadStream, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import {
  link,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  stat,
  statfs,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { createBackup } from '../../src/backup/create.ts';
import { type Limits, usualLimits } from '../../src/backup/limits.ts';
import { restoreBackup } from '../../src/backup/restore.ts';
import { Paths } from '../../src/config/paths.ts';
import { removeTree } from '../../src/system/fs/remove-tree.ts';
import { signalProcess } from '../../src/system/process/processes.ts';
import { cli, sluiceBinary } from '../support/cli.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { thorough } from '../support/tiers.ts';
import { waitFor } from '../support/wait.ts';

const run = promisify(execFile);
const isLinux = process.platform === 'linux';
const isRoot = process.getuid?.() === 0;

/** Harm that an app may do to its files. Each `make` does it in the directory of the app's data. */
const unruly: {
  what: string;
  make: (data: string) => Promise<unknown>;
  /** expected in the notes */
  note?: RegExp;
  skip?: boolean;
  /** checks the directory after a restore; `before` is the original one */
  check?: (data: string, before: string) => Promise<void>;
}[] = [
  {
    what: '6,000 nested directories',
    // A program of its own: only from inside can a directory be made so deep.
    make: (data) =>
      run(process.execPath, ['-e', `${nest}; nest(6000)`], { cwd: data, env: { NODE_OPTIONS: '' } }),
    note: /left out, since its path is longer than \d+ bytes: apps\/unruly\/production\/shared\/d\/d\//,
    check: async (data, before) => {
      assert.deepEqual(await readdir(join(data, 'd/d/d/d/d/d/d/d/d')), ['d']);
      await removeTree(before);
      await assert.rejects(stat(before), { code: 'ENOENT' });
    },
  },
  {
    what: 'a sparse file of 4 TB',
    make: async (data) => {
      await using file = await open(join(data, 'sparse'), 'w');
      await file.truncate(4e12);
      await file.write('start', 0);
      await file.write('middle', 2e12);
      await file.write('end', 4e12 - 3);
    },
    skip: !isLinux,
    check: async (data) => {
      const { size, blocks } = await stat(join(data, 'sparse'));
      assert.equal(size, 4e12);
      assert.ok(512 * blocks < 1e6, `takes ${512 * blocks} bytes`);
      await using file = await open(join(data, 'sparse'));
      for (const [text, at] of [
        ['start', 0],
        ['middle', 2e12],
        ['end', 4e12 - 3],
      ] as const) {
        const { buffer } = await file.read(Buffer.alloc(text.length), 0, text.length, at);
        assert.equal(buffer.toString(), text);
      }
    },
  },
  {
    what: 'a file that is one hole, and one that has more data than holes',
    make: async (data) => {
      await using hole = await open(join(data, 'hole'), 'w');
      await hole.truncate(1e12);
      await using mixed = await open(join(data, 'mixed'), 'w');
      for (const at of [0, 3e6, 6e6]) await mixed.write(Buffer.alloc(2e6, `${at} `), 0, 2e6, at);
    },
    check: async (data, before) => {
      assert.equal((await stat(join(data, 'hole'))).size, 1e12);
      assert.deepEqual(await readFile(join(data, 'mixed')), await readFile(join(before, 'mixed')));
    },
    skip: !isLinux,
  },
  {
    what: 'a large file with many names',
    make: async (data) => {
      await writeFile(join(data, 'name-0'), randomBytes(8e6));
      for (let count = 1; count < 500; count += 1)
        await link(join(data, 'name-0'), join(data, `name-${count}`));
    },
    check: async (data, before) => {
      const { nlink } = await stat(join(data, 'name-499'));
      assert.equal(nlink, 500);
      assert.deepEqual(await readFile(join(data, 'name-499')), await readFile(join(before, 'name-0')));
    },
  },
  {
    what: 'names with line ends, control characters, and of many bytes',
    make: async (data) => {
      for (const name of strangeNames) {
        await mkdir(join(data, name, name), { recursive: true });
        await writeFile(join(data, name, name, name), name);
      }
    },
    check: async (data) => {
      for (const name of strangeNames)
        assert.equal(await readFile(join(data, name, name, name), 'utf8'), name);
    },
  },
  {
    what: 'a name that is not UTF-8',
    make: (data) => writeFile(Buffer.concat([Buffer.from(`${data}/`), Buffer.from([0x66, 0xff])]), ''),
    note: /left out, since its name is not UTF-8: /,
    skip: !isLinux,
  },
  {
    what: 'FIFOs and a socket',
    make: (data) => run('/bin/sh', ['-c', 'for n in $(seq 100); do mkfifo fifo-$n; done'], { cwd: data }),
    note: /left out, since it is not a regular file: .*fifo-/,
  },
  {
    what: 'times that no calendar has',
    make: async (data) => {
      await writeFile(join(data, 'old'), '');
      await utimes(join(data, 'old'), -1e9, -1e9);
      await writeFile(join(data, 'new'), '');
      await utimes(join(data, 'new'), 1e11, 1e11);
    },
  },
  {
    what: 'a file that may not be read',
    make: (data) => writeFile(join(data, 'closed'), 'closed', { mode: 0 }),
    ...(isRoot ? {} : { note: /left out, since it cannot be read \(EACCES\): .*closed/ }),
  },
  {
    what: 'a live release whose files are lost',
    make: (data) => writeFile(join(data, '../generation'), JSON.stringify({ generation: 1, release: 7 })),
    note: /the files of release 7 of unruly are missing, so a restore would have no live release/,
  },
  {
    what: 'a database with holes of 4 TB',
    make: async (data) => {
      await using file = await open(join(data, 'bank.db'), 'w');
      const start = Buffer.alloc(100);
      start.write('SQLite format 3\0');
      start[18] = 1;
      await file.write(start);
      await file.truncate(4e12);
    },
    note: /copied without SQLite \(it has holes\); .*bank\.db/,
    check: async (data) => assert.equal((await stat(join(data, 'bank.db'))).size, 4e12),
    skip: !isLinux,
  },
];

const strangeNames = [
  'line\nend',
  'tab\tand \u001b[31mred',
  'ü'.repeat(120),
  `${'ö'.repeat(100)}\n`,
  ' ',
  "it's",
];

/** Nests directories from inside. */
const nest = `function nest(depth) {
  for (let count = 0; count < depth; count += 1) { fs.mkdirSync('d'); process.chdir('d'); }
}`;

for (const { what, make, note, skip = false, check } of unruly) {
  test(`a backup of an app with ${what} has all other apps${thorough(what === '6,000 nested directories')}`, {
    skip,
  }, async (t) => {
    const { home, data } = await homeOf(t);
    await make(data);
    const { file, notes } = await backup(t, home);
    if (note === undefined) assert.deepEqual(notes, []);
    else assert.match(notes.join('\n'), note);
    const restored = await restore(t, file);
    await check?.(restored, data);
  });
}

test('a backup of files that change meanwhile ends, and has all other apps', {
  skip: !isLinux,
}, async (t) => {
  const { home, data } = await homeOf(t);
  const grows = 'while :; do cat /proc/self/maps /proc/self/maps >>grows || : >grows; done';
  const changes = `while :; do mkdir -p a/b/c/d; echo x >a/b/c/d/x; mv a/b/c e; rm -rf e a; mkfifo a; rm a; ln -s /etc a; rm a
    echo x >f; truncate -s 0 f; rm -f f; mkfifo f; rm f; done`;
  // While GNU tar searches a file, holes and data are added behind the end that it has seen, or the end is cut off.
  const holes = (change: string) =>
    `exec ${process.execPath} -e 'const fd = fs.openSync(process.argv[1], "w+"), size = 4e7
    const put = (at) => fs.writeSync(fd, "x", at)
    for (let at = 0; at < size; at += 4e4) put(at)
    for (let end = size; ; end = end < 6e7 ? end + 2e5 : size) { ${change} }'`;
  const longer = `${holes('end === size ? fs.ftruncateSync(fd, size) : put(end)')} longer`;
  const shorter = `${holes('fs.ftruncateSync(fd, 1e7); fs.ftruncateSync(fd, size); put(size - 1)')} shorter`;
  for (const script of [grows, changes, longer, shorter]) {
    // Limits of 64 MiB and a minute, in case the test is killed.
    const bounded = ['-c', 'ulimit -f 131072; exec timeout 60 /bin/sh -c "$1"', 'sh', script];
    const child = spawn('/bin/sh', bounded, { cwd: data, stdio: 'ignore', detached: true });
    // The script may have ended when its directory was removed.
    t.after(() => signalProcess(-(child.pid as number), 'SIGKILL'));
  }
  for (const name of ['grows', 'longer', 'shorter'])
    await waitFor(async () => (await lstat(join(data, name)).catch(() => undefined)) !== undefined);
  for (let count = 0; count < 5; count += 1) await restore(t, (await backup(t, home)).file);
});

test('a backup without free descriptors ends, and has all other apps', { skip: !isLinux }, async (t) => {
  const { home, data } = await homeOf(t);
  const script = `for (let depth = 0; depth < 300; depth += 1) {
    fs.mkdirSync('d'); process.chdir('d'); fs.writeFileSync('e', ''); fs.truncateSync('e', 1e9); }`;
  await run(process.execPath, ['-e', script], { cwd: data, env: { NODE_OPTIONS: '' } });
  const file = join(await temporaryDirectory(t), 'backup.tar.gz');
  // In a session of its own, which a signal for its process group does not leave.
  const limited = ['-c', 'ulimit -n 200; exec setsid --wait "$@"', 'sh', sluiceBinary, 'backup', file];
  const { code, stdout, stderr } = await cli(limited, { binary: '/bin/sh', env: { SLUICE_HOME: home } });
  assert.equal(code, 0, stderr);
  assert.match(stdout + stderr, /no program can be started to find its holes/);
  assert.match(stdout + stderr, /cannot be read \(EMFILE\)/);
  await restore(t, file);
});

test('SQLite copies a database on a compressing file system', {
  skip: !isLinux,
}, async (t) => {
  const { home, data } = await homeOf(t);
  const at = join(data, 'bank.db');
  makeDatabase(at, 20);
  // As on a file system that compresses.
  await run('fallocate', ['--dig-holes', at]);
  const { size, blocks } = await stat(at);
  assert.ok(512 * blocks < size / 2, `${512 * blocks} of ${size} bytes`);
  const { file, notes } = await backup(t, home);
  assert.deepEqual(notes, []);
  assert.equal(rowsOf(join(await restore(t, file), 'bank.db')), 20);
});

test('SQLite copies databases after others with holes', { skip: !isLinux }, async (t) => {
  const { home, data } = await homeOf(t);
  const start = Buffer.alloc(100);
  start.write('SQLite format 3\0');
  start[18] = 1;
  for (const name of ['a', 'b', 'c', 'd']) {
    await using file = await open(join(data, `${name}.db`), 'w');
    await file.write(start);
    await file.truncate(4e12);
  }
  makeDatabase(join(data, 'last.db'), 1);
  const { notes } = await backup(t, home);
  assert.equal(notes.length, 4);
  for (const note of notes) assert.match(note, /^copied without SQLite \(it has holes\)/);
});

test('after the time limit, databases are copied without SQLite (thorough)', async (t) => {
  const { home, data } = await homeOf(t);
  for (let index = 10; index < 25; index += 1) makeDatabase(join(data, `${index}.db`), index);
  const { file, notes } = await backup(t, home, { step: 50_000 });
  const uncopied = notes.filter((note) => /copies of databases of this app took more than/.test(note));
  assert.equal(notes.length, uncopied.length, notes.join('\n'));
  assert.equal(uncopied.length, 2, notes.join('\n'));
  const restored = await restore(t, file);
  for (let index = 10; index < 25; index += 1) assert.equal(rowsOf(join(restored, `${index}.db`)), index);
});

test('copies of databases that fail take their time from the limit, however large they are', async (t) => {
  const { home, data } = await homeOf(t);
  const damaged = Buffer.concat([Buffer.from('SQLite format 3\0'), randomBytes(1e6)]);
  // A 2 here would mark a database with a write-ahead log. SQLite copies such a database only if a program has it open.
  damaged.fill(1, 18, 20);
  for (let index = 10; index < 19; index += 1) await writeFile(join(data, `${index}.db`), damaged);
  // Shorter than the usual time of a copy.
  const { notes } = await backup(t, home, { step: 100, limits: { ...usualLimits, copying: 500 } });
  assert.equal(notes.length, 9, notes.join('\n'));
  assert.match(notes.at(-1) ?? '', /copies of databases of this app took more than/);
});

test('after the time limit, files with holes are left out', { skip: !isLinux }, async (t) => {
  const { home, data } = await homeOf(t);
  for (let index = 10; index < 40; index += 1) await makeHoles(join(data, String(index)), 1);
  const { file, notes } = await backup(t, home, { step: 25_000 });
  assert.equal(notes.length, 6, notes.join('\n'));
  for (const note of notes)
    assert.match(note, /left out, since it took more than .* to find holes in files of/);
  assert.equal((await readdir(await restore(t, file))).length, 25);
});

test('a file with too many holes is searched once, not once for each name', {
  skip: !isLinux,
}, async (t) => {
  const { home, data } = await homeOf(t);
  await makeHoles(join(data, 'name-0'), 10);
  for (let count = 1; count < 15; count += 1) await link(join(data, 'name-0'), join(data, `name-${count}`));
  const started: ChildProcess[] = [];
  const onStart = (message: unknown) => void started.push((message as { process: ChildProcess }).process);
  subscribe('child_process', onStart);
  t.after(() => unsubscribe('child_process', onStart));
  const { notes } = await backup(t, home, { limits: { ...usualLimits, pieces: 5 } });
  assert.equal(notes.length, 15);
  for (const note of notes) assert.match(note, /left out, since it has more than 5 pieces between holes: /);
  assert.equal(started.filter(({ spawnargs }) => spawnargs.includes('--sparse')).length, 1);
});

test('a file with many small holes is restored with its holes', { skip: !isLinux }, async (t) => {
  const { home, data } = await homeOf(t);
  await makeHoles(join(data, 'dense'), 15, 60_000);
  const { notes, file } = await backup(t, home);
  assert.deepEqual(notes, []);
  const restored = join(await restore(t, file), 'dense');
  const { size, blocks } = await stat(restored);
  assert.equal(size, 1e9);
  assert.ok(blocks * 512 < 1e7, `${blocks} blocks on the disk`);
  await using copy = await open(restored);
  for (let piece = 0; piece < 15; piece += 1)
    assert.equal((await copy.read(Buffer.alloc(4), 0, 4, piece * 60_000)).buffer.toString(), 'data');
});

test('a file that is moved ahead of the backup does not make it larger than the disk', async (t) => {
  const { home, data } = await homeOf(t);
  for (let index = 10; index < 30; index += 1) mkdirSync(join(data, String(index)));
  await writeFile(join(data, '10/large'), randomBytes(600_000));
  const { blocks, bsize } = await statfs(data);
  let last = '10';
  let moves = 0;
  const { file, notes } = await backup(t, home, {
    limits: { ...usualLimits, disks: 1_500_000 / (blocks * bsize) },
    meanwhile: (chunk) => {
      const next = /unruly\/production\/shared\/(\d\d)\/\0/.exec(chunk.toString('latin1', 0, 100))?.[1];
      if (next === undefined || next === last) return;
      renameSync(join(data, last, 'large'), join(data, next, 'large'));
      last = next;
      moves += 1;
    },
  });
  assert.equal(moves, 19);
  assert.equal(notes.length, 18, notes.join('\n'));
  for (const note of notes)
    assert.match(note, /left out, since there is more to copy than .* the size of the disk/);
  assert.equal((await stat(join(await restore(t, file), '11/large'))).size, 600_000);
});

test('without room for the files of an app, the backup has the records of the app', async (t) => {
  const { home, data } = await homeOf(t);
  await writeFile(join(data, 'large'), randomBytes(600_000));
  const { file, notes } = await backup(t, home, { limits: { ...usualLimits, disks: 0 } });
  // The file `kept` of each app is left out, too.
  assert.equal(notes.length, 4, notes.join('\n'));
  const to = join(await temporaryDirectory(t), 'home');
  await restoreInto(to, file);
  for (const app of ['blog', 'unruly', 'wiki']) {
    const { state } = new Paths(to).environment({ app, environment: 'production' });
    assert.match(await readFile(state, 'utf8'), /"port": ?900/);
  }
});

test('a file of Sluice to which an app has a hard link does not prevent a restore', async (t) => {
  const { home, data } = await homeOf(t);
  await link(join(data, '../app.json'), join(data, 'a'));
  await link(join(data, '../app.json'), join(data, 'b'));
  const { file } = await backup(t, home);
  assert.equal((await stat(join(await restore(t, file), 'b'))).nlink, 2);
});

test('hard links beyond the memory limit are copied as separate files', async (t) => {
  const { home, data } = await homeOf(t);
  for (let index = 0; index < 9; index += 1) {
    await writeFile(join(data, `a-${index}`), String(index));
    await link(join(data, `a-${index}`), join(data, `b-${index}`));
  }
  const { file, notes } = await backup(t, home, { limits: { ...usualLimits, memory: 2000 } });
  assert.ok(notes.length > 0);
  for (const note of notes) assert.match(note, /^copied without its other names, since too many files/);
  const restored = await restore(t, file);
  assert.equal((await stat(join(restored, 'b-0'))).nlink, 2);
  for (let index = 0; index < 9; index += 1)
    assert.equal(await readFile(join(restored, `b-${index}`), 'utf8'), String(index));
});

test('notes name some files that cannot be copied, and count the others', async (t) => {
  const { home, data } = await homeOf(t);
  execFileSync('/bin/sh', ['-c', 'for n in $(seq 300); do mkfifo fifo-$n; done'], { cwd: data });
  const { notes } = await backup(t, home);
  assert.equal(notes.filter((note) => /left out, since/.test(note)).length, 20);
  assert.match(notes.at(-1) ?? '', /left out, or not copied exactly: 280 more files of unruly/);
});

test('GNU tar reads files with holes and hard links from a backup', { skip: !isLinux }, async (t) => {
  const { home, data } = await homeOf(t);
  {
    await using sparse = await open(join(data, 'sparse'), 'w');
    await sparse.truncate(1e10);
    await sparse.write('here', 5e9);
  }
  await link(join(data, 'sparse'), join(data, 'twin'));
  const { file } = await backup(t, home);
  const directory = await temporaryDirectory(t);
  const { stderr } = await run('tar', ['-xzf', file], { cwd: directory });
  assert.equal(stderr, '');
  const shared = join(directory, 'apps/unruly/production/shared');
  assert.equal((await stat(join(shared, 'twin'))).nlink, 2);
  await using file2 = await open(join(shared, 'twin'));
  assert.equal((await file2.stat()).size, 1e10);
  assert.equal((await file2.read(Buffer.alloc(4), 0, 4, 5e9)).buffer.toString(), 'here');
});

/** Creates a home with an unruly app, and two other apps whose names come before and after. Nothing runs in it. */
async function homeOf(t: TestContext): Promise<{ home: string; data: string }> {
  const home = join(await temporaryDirectory(t), 'home');
  const paths = new Paths(home);
  for (const [index, app] of ['blog', 'unruly', 'wiki'].entries()) {
    const { shared, state } = paths.environment({ app, environment: 'production' });
    mkdirSync(shared, { recursive: true });
    const content = {
      port: 9001 + index,
      desired: 'running',
      workers: null,
      createdAt: '2026-01-01T00:00:00.000Z',
    };
    writeFileSync(state, JSON.stringify(content));
    writeFileSync(join(shared, 'kept'), `of ${app}`);
  }
  return { home, data: paths.environment({ app: 'unruly', environment: 'production' }).shared };
}

/**
 * Makes a backup in this process.
 * @param meanwhile called for each chunk of the archive
 * @param step time by which the clock goes forward whenever it is read, in ms
 */
async function backup(
  t: TestContext,
  home: string,
  {
    meanwhile,
    step,
    ...options
  }: { limits?: Limits; step?: number; meanwhile?: (chunk: Buffer) => void } = {},
): Promise<{ file: string; notes: string[] }> {
  const notes: string[] = [];
  const chunks: Buffer[] = [];
  const put = async (chunk: Buffer) => {
    meanwhile?.(chunk);
    chunks.push(Buffer.from(chunk));
  };
  const note = (text: string) => void notes.push(text);
  const { signal } = new AbortController();
  let time = 0;
  if (step !== undefined)
    t.mock.method(performance, 'now', () => {
      time += step;
      return time;
    });
  const common = { shared: true, releases: false, version: '0.1.0' };
  await createBackup(new Paths(home), put, { ...common, note, signal, ...options });
  const file = join(await temporaryDirectory(t), 'backup.tar.gz');
  await writeFile(file, gzipSync(Buffer.concat(chunks)));
  return { file, notes };
}

/** Makes a file of 1 GB with so many pieces of data, at a distance in bytes. */
async function makeHoles(path: string, pieces: number, distance = 1e6): Promise<void> {
  await using file = await open(path, 'w');
  await file.truncate(1e9);
  for (let piece = 0; piece < pieces; piece += 1) await file.write('data', piece * distance);
}

/** Makes a database whose rows are mostly zeros, so that a file system has little of it on the disk. */
function makeDatabase(path: string, rows: number): void {
  using database = new DatabaseSync(path);
  database.exec('PRAGMA page_size = 65536; CREATE TABLE items (value BLOB)');
  database.exec('BEGIN');
  const insert = database.prepare('INSERT INTO items VALUES (zeroblob(100000))');
  for (let row = 0; row < rows; row += 1) insert.run();
  database.exec('COMMIT');
}

function rowsOf(path: string): number {
  using database = new DatabaseSync(path);
  const { check } =
    database.prepare('SELECT integrity_check AS "check" FROM pragma_integrity_check').get() ?? {};
  assert.equal(check, 'ok');
  return Number(database.prepare('SELECT count(*) AS rows FROM items').get()?.['rows']);
}

/** Restores into another home, and checks that the other apps are complete. @returns the data of the unruly app */
async function restore(t: TestContext, file: string): Promise<string> {
  const home = join(await temporaryDirectory(t), 'home');
  await restoreInto(home, file);
  const shared = (app: string) => new Paths(home).environment({ app, environment: 'production' }).shared;
  for (const app of ['blog', 'unruly', 'wiki'])
    assert.equal(await readFile(join(shared(app), 'kept'), 'utf8'), `of ${app}`);
  return shared('unruly');
}

async function restoreInto(home: string, file: string): Promise<void> {
  const { signal } = new AbortController();
  const quiet = async () => new AsyncDisposableStack();
  await restoreBackup(new Paths(home), createReadStream(file), { force: false, minFree: 0, signal, quiet });
}
