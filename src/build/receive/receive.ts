import { renameSync } from 'node:fs';
import { lstat, mkdtemp, opendir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { rootOf } from '../../config/app-root.ts';
import { AppError, isDiskFull } from '../../errors/app-error.ts';
import { recordsName } from '../../releases/directory.ts';
import { ifThere } from '../../system/fs/exists.ts';
import { emptyDirectory, removeTree } from '../../system/fs/remove-tree.ts';
import { reservedName } from './entry-path.ts';
import { decompressor, explain, readBody, type Tally, uploadTooLarge } from './upload.ts';

export interface ArchiveLimits {
  /** bytes as sent */
  maxUploadBytes: number;
  /** bytes of the tar after decompression, including headers */
  maxExtractedBytes: number;
  /** files, directories and links */
  maxEntries: number;
  /** longest pause of the sender, in ms */
  uploadTimeout: number;
}

export interface ReceivedArchive {
  uploadBytes: number;
  /** bytes of the files */
  extractedBytes: number;
  entries: number;
  /** directory of the release in the archive, from the setting `root`; '' for all of it */
  root: string;
  /** member of a workspace that is the app, from the setting `root`; '' if the release is the app */
  member: string;
  /** paths of git-lfs pointers in the release */
  lfsPointers: string[];
  /** files of macOS that were left out: their number, and the path of the first one; null if there are none */
  macFiles: { count: number; first: string } | null;
}

interface ReceiveOptions {
  /** bytes in the header of the request; null if unknown */
  contentLength: number | null;
  signal: AbortSignal;
  /** name of the app, for the setting `root` */
  app: string;
  /** true to keep a single folder around everything */
  keepFolder?: boolean;
}

/**
 * Unpacks an archive into `directory`, which contains only the records of Sluice. Removes a single folder around everything
 * unless `keepFolder` is set. Removes everything it has written on any error.
 * @throws AppError `upload_…`, `archive_…`, `disk_full`; the reason of the signal on abort
 */
export async function receiveArchive(
  body: Readable,
  directory: string,
  limits: ArchiveLimits,
  options: ReceiveOptions,
): Promise<ReceivedArchive> {
  const { contentLength } = options;
  if (contentLength !== null && contentLength > limits.maxUploadBytes) {
    throw uploadTooLarge(limits, contentLength);
  }
  try {
    // A random name, which no entry of the archive can have.
    const incoming = await mkdtemp(join(directory, '.incoming-'));
    const tally: Tally = { bytes: 0 };
    const { tree, ...received } = await unpack(body, incoming, limits, tally, options);
    await moveInto(directory, tree);
    await removeTree(incoming);
    return { uploadBytes: tally.bytes, ...received };
  } catch (error) {
    await emptyDirectory(directory, recordsName);
    if (!isDiskFull(error)) throw error;
    throw new AppError('disk_full', 'the disk was full before the archive was unpacked', {
      hint: 'Free disk space: a lower "keepReleases" removes old releases.',
      cause: error,
    });
  }
}

async function unpack(
  body: Readable,
  incoming: string,
  limits: ArchiveLimits,
  tally: Tally,
  { signal, app, keepFolder = false }: ReceiveOptions,
): Promise<{ tree: string } & Omit<ReceivedArchive, 'uploadBytes'>> {
  // Loaded here to save memory: most servers rarely receive archives.
  const { Unpacker } = await import('./unpacker.ts');
  const unpacker = new Unpacker(incoming, limits);
  const refusal = new AbortController();
  const chunks = readBody(body, limits, { tally, signal: AbortSignal.any([signal, refusal.signal]) });
  try {
    const upload = wholeBlocks(chunks);
    const { value: head } = await upload.next();
    if (head === undefined) throw empty('the upload is empty');
    await pipeline(prepend(head, upload), decompressor(head), async (tar: AsyncIterable<Buffer>) => {
      try {
        for await (const blocks of wholeBlocks(tar)) unpacker.write(blocks);
      } catch (error) {
        // Otherwise the error would wait for the next chunk of the sender.
        refusal.abort(error);
        throw error;
      }
    });
    unpacker.assertEnded();
    const folder = keepFolder ? '' : unpacker.leadingFolder();
    if (unpacker.files === 0) throw empty('the archive contains no files');
    // Links do not exist yet.
    const { root, member } = await rootOf(join(incoming, folder), app);
    const { extractedBytes, entries, macFiles } = unpacker;
    const finished = unpacker.finish([folder, root].filter(Boolean).join('/'));
    return { ...finished, root, member, extractedBytes, entries, macFiles };
  } catch (error) {
    throw explain(error);
  } finally {
    await chunks.return(undefined);
    unpacker.close();
  }
}

/** Yields multiples of the 512 bytes of a block of a tar, and an incomplete block only at the end. */
async function* wholeBlocks(data: AsyncIterable<Buffer>): AsyncGenerator<Buffer, undefined> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of data) {
    const all = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    const end = all.length - (all.length % 512);
    rest = all.subarray(end);
    if (end > 0) yield all.subarray(0, end);
  }
  if (rest.length > 0) yield rest;
}

async function* prepend(first: Buffer, rest: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  yield first;
  yield* rest;
}

/** Moves the entries of `tree` into `directory`, which contains `tree`. Does not read all names at once: there may be very many. */
async function moveInto(directory: string, tree: string): Promise<void> {
  if (await ifThere(lstat(join(tree, recordsName)))) throw reservedName(recordsName);
  for (let moved = -1; moved !== 0; ) {
    moved = 0;
    // A reader may miss names in a directory that changes, so the directory is read again until it is empty.
    for await (const { name } of await opendir(tree)) {
      renameSync(join(tree, name), join(directory, name));
      moved += 1;
    }
  }
}

function empty(message: string): AppError {
  return new AppError('archive_empty', message, {
    hint: 'Send the files of the app: run `tar czf app.tar.gz --exclude node_modules .` in its directory.',
  });
}
