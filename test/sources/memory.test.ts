import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { type Duplex, Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { type TestContext, test } from 'node:test';
import { createGzip, createZstdCompress } from 'node:zlib';
import { hasCode } from '../../src/errors/app-error.ts';
import { smallHeap } from '../../src/system/small-heap.ts';
import { endOfArchive, extendedHeader, manyEntries, tarEntry } from '../support/archive.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const MiB = 1024 ** 2;

interface Received {
  entries: number;
  uploadBytes: number;
  /** of the error */
  code: string | null;
  /** bytes of memory */
  growth: number;
}

/** Receives an archive in a process that is started as the server is. */
async function receive(
  t: TestContext,
  archive: Iterable<Buffer>,
  compressor: Duplex = createGzip({ level: 1 }),
): Promise<Received> {
  const directory = await temporaryDirectory(t);
  const child = spawn(
    process.execPath,
    [...smallHeap, `${import.meta.dirname}/receive-stdin.ts`, directory],
    {
      env: { ...process.env, MALLOC_ARENA_MAX: '2' },
      stdio: ['pipe', 'pipe', 'inherit'],
    },
  );
  const output = text(child.stdout);
  // One that is refused is not read to its end.
  await pipeline(Readable.from(archive), compressor, child.stdin).catch((error: unknown) => {
    if (!hasCode(error, 'EPIPE', 'ECONNRESET', 'ERR_STREAM_PREMATURE_CLOSE')) throw error;
  });
  const received = JSON.parse(await output) as Received;
  t.diagnostic(`memory grew by ${(received.growth / MiB).toFixed(1)} MiB`);
  return received;
}

for (const [name, compressor] of [
  ['gzip', () => createGzip({ level: 1 })],
  ['zstd', () => createZstdCompress()],
] as const) {
  test(`an upload of 200 MiB with ${name} takes less than 32 MiB of memory`, async (t) => {
    const { uploadBytes, growth } = await receive(t, largeArchive(), compressor());
    assert.ok(uploadBytes > 200 * MiB, `${uploadBytes} bytes were sent`);
    assert.ok(growth < 32 * MiB, `memory grew by ${(growth / MiB).toFixed(1)} MiB`);
  });
}

test('an upload of 30,000 entries of all kinds is received and removed in less than 32 MiB of memory', async (t) => {
  const { entries, code, growth } = await receive(t, manyEntries(30_000));
  assert.deepEqual([code, entries], [null, 30_000]);
  assert.ok(growth < 32 * MiB, `memory grew by ${(growth / MiB).toFixed(1)} MiB`);
});

for (const [what, archive, expected] of [
  ['links whose texts are long', longLinks, 'archive_too_many_entries'],
  ['extended headers that are large', () => largeHeaders(100_000), null],
  ['extended headers that are too large', () => largeHeaders(200_000), 'archive_unreadable'],
] as const) {
  test(`an upload of ${what} takes less than 64 MiB of memory`, async (t) => {
    const { code, growth } = await receive(t, archive());
    assert.equal(code, expected);
    assert.ok(growth < 64 * MiB, `memory grew by ${(growth / MiB).toFixed(1)} MiB`);
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

/** Of nothing but line ends. */
function* largeHeaders(bytes: number): Generator<Buffer> {
  const content = Buffer.alloc(bytes, '\n');
  for (let n = 0; n < 50; n++) {
    yield tarEntry({ path: 'head', type: 'ExtendedHeader', content });
    yield tarEntry({ path: `${n}` });
  }
  yield endOfArchive;
}
