import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { constants, gzipSync, zstdCompressSync } from 'node:zlib';
import type { ErrorCode } from '../../../src/errors/codes.ts';
import { type Entry, endOfArchive, extendedHeader, tarball, tarEntry } from '../../support/archive.ts';
import { readTree } from '../../support/tree.ts';
import { receive, staging } from './support.ts';

/** Adds a file before and after, so that files exist when the archive is rejected. */
function amid(...entries: Entry[]): Buffer {
  return tarball([{ path: 'app/first.js', content: '1' }, ...entries, { path: 'app/last.js', content: '2' }]);
}

const good = amid();
const symlink = (path: string, linkpath: string): Entry => ({ path, type: 'SymbolicLink', linkpath });

/** Options of the `zstd` command. Without a checksum, damage to incompressible data is not detected. */
const withChecksum = { params: { [constants.ZSTD_c_checksumFlag]: 1 } };

const rejected: [claim: string, body: Buffer, code: ErrorCode, message: RegExp][] = [
  ['an absolute path', amid({ path: '/tmp/evil' }), 'archive_unsafe', /"\/tmp\/evil" is an absolute path/],
  ['a path with ..', amid({ path: 'app/../../evil' }), 'archive_unsafe', /contains "\.\."/],
  ['a path over 4095 bytes', longName('n/'.repeat(2500)), 'archive_unsafe', /longer than 4095 bytes/],
  [
    'a name that is too long for a file system',
    longName(`app/${'n'.repeat(300)}`),
    'archive_unsafe',
    /ENAMETOOLONG/,
  ],
  ['a name that is no UTF-8', notUtf8(), 'archive_unreadable', /not UTF-8/],
  ...(['File', 'Directory', 'SymbolicLink', 'Link'] as const).map(
    (type) =>
      [
        `a name of a ${type} with line ends and NULs`,
        namedByBytes('NextFileHasLongPath', {
          path: 'short',
          type,
          linkpath: type.endsWith('Link') ? 'x' : '',
        }),
        'archive_unreadable',
        /NUL/,
      ] as (typeof rejected)[number],
  ),
  ...(['SymbolicLink', 'Link'] as const).map(
    (type) =>
      [
        `a target of a ${type} with line ends and NULs`,
        namedByBytes('NextFileHasLongLinkpath', { path: 'short', type, linkpath: 'x' }),
        'archive_unreadable',
        /NUL/,
      ] as (typeof rejected)[number],
  ),
  [
    'a path with a line end in an extended header',
    Buffer.concat([extendedHeader('path', 'app/one\ntwo'), amid({ path: 'short' })]),
    'archive_unreadable',
    /"app\/one" cannot be read/,
  ],
  ['a device', amid({ path: 'app/disk', type: 'BlockDevice' }), 'archive_unsafe', /type BlockDevice/],
  ['a FIFO', amid({ path: 'app/pipe', type: 'FIFO' }), 'archive_unsafe', /type FIFO/],
  [
    'an unknown type',
    amid({ path: 'app/x', type: 'TapeVolumeHeader' }),
    'archive_unsafe',
    /TapeVolumeHeader/,
  ],
  [
    'a sparse file in the old format of GNU tar',
    amid({ path: 'app/x', type: 'SparseFile' }),
    'archive_unreadable',
    /"app\/x" is a sparse file/,
  ],
  [
    'a record of Sluice',
    tarball([{ path: '.sluice/release.json', content: '{}' }]),
    'archive_unsafe',
    /records of Sluice/,
  ],
  [
    'a record of Sluice, after the leading folder',
    amid({ path: 'app/.sluice/x' }),
    'archive_unsafe',
    /records of Sluice/,
  ],
  ['a file in place of the root', amid({ path: './' }, { path: '.' }), 'archive_unsafe', /root/],

  [
    'an absolute link',
    amid(symlink('app/l', '/etc/passwd')),
    'archive_unsafe',
    /"l" links to "\/etc\/passwd"/,
  ],
  ['a link to outside', amid(symlink('app/l', '../../x')), 'archive_unsafe', /is outside/],
  [
    'a link to outside next to an AppleDouble link',
    amid(symlink('app/c', '/etc'), symlink('._abc', 'first.js')),
    'archive_unsafe',
    /"c" links to "\/etc"/,
  ],
  ['a link to beside the leading folder', amid(symlink('app/l', '../x')), 'archive_unsafe', /is outside/],
  [
    'a link to outside through another link',
    tarball([{ path: 'a/b/f' }, { path: 'c' }, symlink('a/b/l', '../..'), symlink('x', 'a/b/l/..')]),
    'archive_unsafe',
    /"x" links to "a\/b\/l\/\.\."/,
  ],
  ['a file behind a link', amid(symlink('app/d', '.'), { path: 'app/d/evil' }), 'archive_unsafe', /EEXIST/],
  [
    'a file behind a link to outside',
    amid(symlink('app/d', '..'), { path: 'app/d/evil' }),
    'archive_unsafe',
    /outside/,
  ],
  [
    'a hard link to outside',
    amid({ path: 'app/h', type: 'Link', linkpath: '../7/.sluice' }),
    'archive_unsafe',
    /"\.\."/,
  ],
  [
    'an absolute hard link',
    amid({ path: 'app/h', type: 'Link', linkpath: '/etc/passwd' }),
    'archive_unsafe',
    /absolute/,
  ],
  [
    'a hard link to a link',
    amid(symlink('app/s', 'first.js'), { path: 'app/h', type: 'Link', linkpath: 'app/s' }),
    'archive_unsafe',
    /ENOENT/,
  ],
  [
    'a hard link to a record of Sluice',
    amid({ path: 'app/h', type: 'Link', linkpath: '.sluice/release.json' }),
    'archive_unsafe',
    /records of Sluice/,
  ],
  ['a file where a directory is', amid({ path: 'app' }), 'archive_unsafe', /EISDIR|EPERM/],
  ['a directory where a file is', amid({ path: 'app/first.js/x' }), 'archive_unsafe', /EEXIST/],

  ['an empty body', Buffer.alloc(0), 'archive_empty', /upload is empty/],
  ['a tar without entries', endOfArchive, 'archive_empty', /contains no files/],
  [
    'a tar of directories only',
    tarball([{ path: 'a/', type: 'Directory' }]),
    'archive_empty',
    /contains no files/,
  ],
  ['text', Buffer.from('hello\n'.repeat(1000)), 'archive_unreadable', /not a tar archive/],
  ['a few bytes', Buffer.from('hi'), 'archive_unreadable', /not a tar archive/],
  ['a zip', Buffer.from('PK\x03\x04 and so on'), 'archive_unreadable', /a zip file/],
  [
    'a form',
    Buffer.from('------x\r\nContent-Disposition: form-data; name="file"; filename="app.tgz"\r\n\r\n'),
    'archive_unreadable',
    /the upload is a form/,
  ],
  ['a tar compressed twice', gzipSync(gzipSync(randomTar())), 'archive_unreadable', /compressed twice/],
  ['a damaged gzip', damaged(gzipSync(randomTar())), 'archive_unreadable', /damaged/],
  ['a damaged zstd', damaged(zstdCompressSync(randomTar(), withChecksum)), 'archive_unreadable', /damaged/],
  ['a damaged header', damagedHeader(), 'archive_unreadable', /damaged/],

  ['a plain tar cut within a file', good.subarray(0, 700), 'archive_truncated', /ends before/],
  ['a plain tar cut between two files', good.subarray(0, 1024), 'archive_truncated', /ends before/],
  ['a plain tar cut within a header', good.subarray(0, 1200), 'archive_truncated', /ends before/],
  ['a gzip cut short', gzipSync(randomTar()).subarray(0, -5), 'archive_truncated', /ends before/],
  ['a zstd cut short', zstdCompressSync(randomTar()).subarray(0, -5), 'archive_truncated', /ends before/],

  ['more entries than allowed', tarball(many(101)), 'archive_too_many_entries', /more than 100 entries/],
  [
    'more directories than allowed',
    tarball([{ path: `${'d/'.repeat(101)}f` }]),
    'archive_too_many_entries',
    /100/,
  ],
  ['a gzip bomb', gzipSync(bomb()), 'archive_too_large', /more than 16 MiB/],
  ['a zstd bomb', zstdCompressSync(bomb()), 'archive_too_large', /more than 16 MiB/],
  ['a bomb after the end of the tar', gzipSync(Buffer.concat([good, bomb()])), 'archive_too_large', /16 MiB/],
  [
    'more bytes than allowed',
    Buffer.alloc(9 * 1024 * 1024),
    'upload_too_large',
    /larger than the limit of 8\.0 MiB/,
  ],
];

for (const [claim, body, code, message] of rejected) {
  test(`${claim} is rejected as ${code} and leaves nothing`, async (t) => {
    const { parent, directory } = await staging(t);
    const before = await readTree(parent);
    await assert.rejects(receive(body, directory), { name: 'AppError', code, message });
    assert.deepEqual(await readTree(parent), before);
  });
}

test('links that dangle, form a circle or stay inside by detours are accepted', async (t) => {
  const { directory } = await staging(t);
  const links = {
    round: 'round',
    dangling: 'not/there',
    'a/b/detour': '../../a/./b/../b/file',
    'a/b/root': '../..',
    through: 'a/b/root/a/b/root/a/b/file',
  };
  await receive(
    tarball([{ path: 'a/b/file' }, ...Object.entries(links).map(([path, target]) => symlink(path, target))]),
    directory,
  );
  const tree = await readTree(directory);
  for (const [path, target] of Object.entries(links)) assert.equal(tree[path], `-> ${target}`);
});

test('links that take very long to follow are rejected at once', async (t) => {
  const { directory } = await staging(t);
  const detour = 'd/../'.repeat(700);
  const links = Array.from({ length: 2000 }, (_, n) => symlink(`l${n}`, `${detour}l${(n + 1) % 2000}`));
  const body = tarball([{ path: 'd/f' }, ...links.flatMap(withLongTarget)]);
  await assert.rejects(receive(gzipSync(body), directory, { maxEntries: 10_000 }), {
    code: 'archive_unsafe',
    message: /too complex/,
  });
});

function many(count: number): Entry[] {
  return Array.from({ length: count }, (_, number) => ({ path: `f${number}` }));
}

function randomTar(): Buffer {
  return tarball([{ path: 'f', content: randomBytes(300_000) }]);
}

function bomb(): Buffer {
  return tarball([{ path: 'zeros', content: Buffer.alloc(40 * 1024 * 1024) }]);
}

function damaged(body: Buffer): Buffer {
  body.fill(0xaa, body.length >> 1, (body.length >> 1) + 40);
  return body;
}

function damagedHeader(): Buffer {
  const body = Buffer.from(good);
  body[1030] = 0x21;
  return body;
}

/** Returns an archive with the long name header of GNU tar. */
function longName(path: string): Buffer {
  const name = tarEntry({ path: '././@LongLink', type: 'NextFileHasLongPath', content: `${path}\0` });
  return Buffer.concat([name, tarEntry({ path: 'short' }), endOfArchive]);
}

function withLongTarget(entry: Entry): Entry[] {
  const content = `${entry.linkpath}\0`;
  return [
    { path: '././@LongLink', type: 'NextFileHasLongLinkpath', content },
    { ...entry, linkpath: 'short' },
  ];
}

/** Returns an archive with NULs in a name. The parser ends a text at its first NUL, but keeps the text after that line. */
function namedByBytes(type: 'NextFileHasLongPath' | 'NextFileHasLongLinkpath', entry: Entry): Buffer {
  const name = tarEntry({ path: '././@LongLink', type, content: 'name\0\n\0\0\n' });
  return Buffer.concat([name, tarEntry(entry), endOfArchive]);
}

function notUtf8(): Buffer {
  return Buffer.concat([
    tarEntry({
      path: '././@LongLink',
      type: 'NextFileHasLongPath',
      content: Buffer.from([0x61, 0xe4, 0x62, 0]),
    }),
    tarEntry({ path: 'short' }),
    endOfArchive,
  ]);
}
