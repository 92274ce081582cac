import { renameSync } from 'node:fs';
import { lstat, mkdtemp, opendir } from 'node:fs/promises';
import { join, posix } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { AppError, isDiskFull } from '../../errors/app-error.ts';
import { recordsName } from '../../releases/directory.ts';
import { ifThere } from '../../system/fs/exists.ts';
import { emptyDirectory, removeTree } from '../../system/fs/remove-tree.ts';
import { diskFull, uploadTooLarge } from './archive-errors.ts';
import { reservedName } from './entry-path.ts';
import { decompressor, explain, peek, readBody, type Tally } from './upload.ts';

export interface ArchiveLimits {
  /** bytes as sent */
  maxUploadBytes: number;
  /** bytes of the tar after decompression, its headers included */
  maxExtractedBytes: number;
  /** files, directories and links */
  maxEntries: number;
  /** milliseconds for which the sender may stand still */
  uploadTimeout: number;
}

export interface ReceivedArchive {
  uploadBytes: number;
  /** of the files in it */
  extractedBytes: number;
  entries: number;
  /** paths of files that git-lfs has put in place of the real ones, as far as the release has them */
  lfsPointers: string[];
}

interface ReceiveOptions {
  /** bytes that the sender announced; null where it did not */
  contentLength: number | null;
  signal: AbortSignal;
  /** whether a folder around everything is a part of it, and not taken away */
  keepFolder?: boolean;
  /**
   * Given the unpacked tree, which directory of it is the release, relative to it; empty for all. Links are not there
   * yet. Without it all is.
   */
  chooseRoot?: (tree: string) => Promise<string>;
}

/**
 * Unpacks an archive into `directory`, which exists and is empty but for our own records. One leading folder is
 * taken away, unless it is to be kept. On any error all that was written is gone again.
 * @throws AppError `upload_…`, `archive_…`, `disk_full`; the signal's reason where it aborts
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
    // A name that no archive can guess, so that what is in it collides with nothing.
    const incoming = await mkdtemp(join(directory, '.incoming-'));
    const tally: Tally = { bytes: 0 };
    const { tree, ...received } = await unpack(body, incoming, limits, tally, options);
    await moveInto(directory, tree);
    await removeTree(incoming);
    return { uploadBytes: tally.bytes, ...received };
  } catch (error) {
    await emptyDirectory(directory, recordsName);
    throw isDiskFull(error) ? diskFull(error) : error;
  }
}

async function unpack(
  body: Readable,
  incoming: string,
  limits: ArchiveLimits,
  tally: Tally,
  { signal, keepFolder = false, chooseRoot = async () => '' }: ReceiveOptions,
): Promise<{ tree: string } & Omit<ReceivedArchive, 'uploadBytes'>> {
  // Loaded only here: a running appliance rarely receives anything.
  const { Unpacker } = await import('./unpacker.ts');
  const unpacker = new Unpacker(incoming, limits);
  const refusal = new AbortController();
  const chunks = readBody(body, limits, { tally, signal: AbortSignal.any([signal, refusal.signal]) });
  try {
    const { head, all } = await peek(chunks);
    if (head.length === 0) throw empty('the upload is empty');
    await pipeline(all, decompressor(head), async (tar: AsyncIterable<Buffer>) => {
      try {
        for await (const blocks of wholeBlocks(tar)) unpacker.write(blocks);
      } catch (error) {
        // Else the refusal would wait until the sender goes on.
        refusal.abort(error);
        throw error;
      }
    });
    unpacker.assertEnded();
    const folder = keepFolder ? '' : unpacker.leadingFolder();
    if (unpacker.files === 0) throw empty('the archive holds no file');
    const root = posix.join(folder, await chooseRoot(join(incoming, folder)));
    const { tree, lfsPointers } = unpacker.finish(root === '.' ? '' : root);
    return { tree, lfsPointers, extractedBytes: unpacker.extractedBytes, entries: unpacker.entries };
  } catch (error) {
    throw explain(error);
  } finally {
    await chunks.return(undefined);
    unpacker.close();
  }
}

/** Cuts a tar where its blocks of 512 bytes end; what is left over at the end is no block. */
async function* wholeBlocks(tar: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of tar) {
    const all = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    const end = all.length - (all.length % 512);
    rest = all.subarray(end);
    if (end > 0) yield all.subarray(0, end);
  }
}

/** Moves the entries of `tree`, which lies below `directory`, up into `directory`. There may be too many names to hold. */
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
    hint: 'Send the files of the app: `tar czf app.tar.gz --exclude node_modules .` in its directory.',
  });
}
