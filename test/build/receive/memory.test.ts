import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { type Duplex, Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { type TestContext, test } from 'node:test';
import { createGzip, createZstdCompress } from 'node:zlib';
import { hasCode } from '../../../src/errors/app-error.ts';
import { smallHeap } from '../../../src/system/process/footprint.ts';
import { endOfArchive, extendedHeader, manyEntries, tarEntry } from '../../support/archive.ts';
import { temporaryDirectory } from '../../support/temporary.ts';
import { thorough } from '../../support/tiers.ts';

const MiB = 1024 ** 2;

interface Received {
  entries: number;
  uploadBytes: number;
  /** code of the error */
  code: string | null;
  /** growth of memory, in bytes */
  growth: number;
}

/** Limits the attempts to receive an archive: the amount of garbage at the peak is up to the engine. */
const tries = 3;

/** Receives an archive again until it takes less than `limit` bytes of memory. @throws AssertionError if every attempt takes more */
async function receiveWithin(
  limit: number,
  t: TestContext,
  archive: () => Iterable<Buffer>,
  compressor = (): Duplex => createGzip({ level: 1 }),
): Promise<Received> {
  const growths: string[] = [];
  for (let time = 0; time < tries; time += 1) {
    const received = await receive(t, archive(), compressor());
    growths.push(`${(received.growth / MiB).toFixed(1)} MiB`);
    t.diagnostic(`memory grew by ${growths.at(-1)}`);
    if (received.growth < limit) return received;
  }
  assert.fail(`memory grew by ${growths.join(', ')}`);
}

/** Receives an archive in a process with the same flags as the server. */
async function receive(t: TestContext, archive: Iterable<Buffer>, compressor: Duplex): Promise<Received> {
  const directory = await temporaryDirectory(t);
  const child = spawn(
    process.execPath,
    [...smallHeap, `${import.meta.dirname}/receive-stdin.ts`, directory],
    {
      env: { ...process.env, MALLOC_ARENA_MAX: '1' },
      stdio: ['pipe', 'pipe', 'inherit'],
    },
  );
  const output = text(child.stdout);
  // A refused archive is not read to its end.
  await pipeline(Readable.from(archive), compressor, child.stdin).catch((error: unknown) => {
    if (!hasCode(error, 'EPIPE', 'ECONNRESET', 'ERR_STREAM_PREMATURE_CLOSE')) throw error;
  });
  return JSON.parse(await output) as Received;
}

for (const [name, compressor] of [
  ['gzip', () => createGzip({ level: 1 })],
  ['zstd', () => createZstdCompress()],
] as const) {
  test(`an upload of 200 MiB with ${name} takes less than 32 MiB of memory${thorough(name !== 'zstd')}`, async (t) => {
    const { uploadBytes } = await receiveWithin(32 * MiB, t, largeArchive, compressor);
    assert.ok(uploadBytes > 200 * MiB, `${uploadBytes} bytes were sent`);
  });
}

test('an upload of 30,000 entries takes less than 32 MiB of memory (thorough)', async (t) => {
  const { entries, code } = await receiveWithin(32 * MiB, t, () => manyEntries(30_000));
  assert.deepEqual([code, entries], [null, 30_000]);
});

for (const [what, archive, expected] of [
  ['long links', longLinks, 'archive_too_many_entries'],
  ['large extended headers', () => largeHeaders(100_000), null],
  ['extended headers over the limit', () => largeHeaders(200_000), 'archive_unreadable'],
] as const) {
  test(`an upload of ${what} takes less than 64 MiB of memory`, async (t) => {
    const { code } = await receiveWithin(64 * MiB, t, archive);
    assert.equal(code, expected);
  });
}

/** One file of 100 MiB and 1,600 of 64 KiB, of random bytes, which no compressor makes smaller. */
function* largeArchive(): Generator<Buffer> {
  const size = 100 * MiB;
  yield tarEntry({ path: 'large', size });
  for (let written = 0; written < size; written += MiB) yield randomBytes(MiB);
  for (let n = 0; n < 1600; n++) yield tarEntry({ path: `small/${n}`, content: randomBytes(64 * 1024) });
  yield endOfArchive;
}

function* longLinks(): Generator<Buffer> {
  for (let n = 0; n < 100_000; n++) {
    const [path, target] = [`${n}`.padStart(100, 'p'), `${n}`.padStart(3000, 't')];
    yield extendedHeader('linkpath', target);
    yield tarEntry({ path, type: 'SymbolicLink', linkpath: 'short' });
  }
  yield endOfArchive;
}

/** Yields an archive with extended headers of nothing but line ends. */
function* largeHeaders(bytes: number): Generator<Buffer> {
  const content = Buffer.alloc(bytes, '\n');
  for (let n = 0; n < 50; n++) {
    yield tarEntry({ path: 'head', type: 'ExtendedHeader', content });
    yield tarEntry({ path: `${n}` });
  }
  yield endOfArchive;
}
