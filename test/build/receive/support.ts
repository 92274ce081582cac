import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { TestContext } from 'node:test';
import {
  type ArchiveLimits,
  type ReceivedArchive,
  receiveArchive,
} from '../../../src/build/receive/receive.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

const limits: ArchiveLimits = {
  maxUploadBytes: 8 * 1024 * 1024,
  maxExtractedBytes: 16 * 1024 * 1024,
  maxEntries: 100,
  uploadTimeout: 10_000,
};

/** Creates a staging directory with records, as the release store does, and its parent, which must not change. */
export async function staging(t: TestContext): Promise<{ parent: string; directory: string }> {
  const parent = await temporaryDirectory(t);
  const directory = join(parent, '7');
  await mkdir(join(directory, '.sluice'), { recursive: true });
  await writeFile(join(directory, '.sluice/release.json'), '{}');
  return { parent, directory };
}

export function receive(
  body: Readable | Buffer,
  directory: string,
  options: Partial<ArchiveLimits> & { contentLength?: number; signal?: AbortSignal } = {},
): Promise<ReceivedArchive> {
  const { contentLength = null, signal = new AbortController().signal, ...changed } = options;
  const stream = Buffer.isBuffer(body) ? Readable.from(chunks(body)) : body;
  return receiveArchive(stream, directory, { ...limits, ...changed }, { contentLength, signal, app: 'shop' });
}

/** Yields chunks of odd sizes, so that no chunk ends at a boundary of the format. */
function* chunks(buffer: Buffer): Generator<Buffer> {
  const sizes = [3, 1, 700, 5000, 65_537];
  for (let at = 0, turn = 0; at < buffer.length; turn++) {
    const size = sizes[turn % sizes.length] ?? 1;
    yield buffer.subarray(at, at + size);
    at += size;
  }
}
