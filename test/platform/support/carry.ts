import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';

/** Number of bytes to carry: more than the kernel and Node.js buffer between two processes. */
export const carriedBytes = 16 * 1024 ** 2;

interface Load {
  /** for the name of a test */
  what: string;
  piece: string | Buffer;
}

/** Loads to write: strings whose characters take 1, 2, 3 and 4 bytes in UTF-8, and bytes. */
export const loads: Load[] = [
  { what: 'ASCII', piece: 'a'.repeat(5000) },
  { what: 'Greek', piece: 'λ'.repeat(5000) },
  { what: 'Japanese', piece: '語'.repeat(5000) },
  { what: 'emoji', piece: '🙂'.repeat(5000) },
  { what: 'bytes', piece: Buffer.alloc(15_000, 'b') },
];

/**
 * Writes `carriedBytes` to `out` as `pipe` does: waits for `drain` when `write` returns false. The reader of `input` begins
 * after the first such wait has begun. Fails if `drain` does not come, or if a byte is missing.
 */
export async function carry(out: Writable, input: Readable, { piece }: Load): Promise<void> {
  const count = Math.ceil(carriedBytes / Buffer.byteLength(piece));
  const full = Promise.withResolvers<void>();
  const expected = createHash('sha256');
  const write = async () => {
    for (let written = 0; written < count; written += 1) {
      // Several writes in one turn are sent together.
      if (written % 3 === 0) await nextTurn();
      expected.update(piece);
      if (out.write(piece)) continue;
      full.resolve();
      await once(out, 'drain', { signal: AbortSignal.timeout(20_000) });
    }
    full.reject(new Error(`${out.constructor.name} took ${carriedBytes} bytes and was never full`));
    out.end();
  };
  const read = async () => {
    await full.promise;
    const found = createHash('sha256');
    for await (const chunk of input) found.update(chunk);
    return found.digest('hex');
  };
  const writing = write();
  writing.catch((error) => {
    full.reject(error);
    input.destroy();
  });
  const [, found] = await Promise.all([writing, read()]);
  assert.equal(found, expected.digest('hex'));
}
