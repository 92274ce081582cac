import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { test } from 'node:test';
import { createGzip, createZstdCompress } from 'node:zlib';
import { smallHeap } from '../../src/system/small-heap.ts';
import { endOfArchive, tarEntry } from '../support/archive.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const MiB = 1024 ** 2;

for (const [name, compressor] of [
  ['gzip', () => createGzip({ level: 1 })],
  ['zstd', () => createZstdCompress()],
] as const) {
  test(`an upload of 200 MiB with ${name} takes less than 32 MiB of memory`, async (t) => {
    const directory = await temporaryDirectory(t);
    // As the server is started.
    const child = spawn(
      process.execPath,
      [...smallHeap, `${import.meta.dirname}/receive-stdin.ts`, directory],
      {
        env: { ...process.env, MALLOC_ARENA_MAX: '2' },
        stdio: ['pipe', 'pipe', 'inherit'],
      },
    );
    const output = text(child.stdout);
    await pipeline(Readable.from(largeArchive()), compressor(), child.stdin);
    const { uploadBytes, growth } = JSON.parse(await output);
    assert.ok(uploadBytes > 200 * MiB, `${uploadBytes} bytes were sent`);
    assert.ok(growth < 32 * MiB, `memory grew by ${(growth / MiB).toFixed(1)} MiB`);
    t.diagnostic(`memory grew by ${(growth / MiB).toFixed(1)} MiB`);
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
