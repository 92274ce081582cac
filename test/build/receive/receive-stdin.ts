// Receives an archive from standard input into the named directory, and removes everything again. Prints the result, the files
// that a refused archive has left, and the growth of memory.
import { readdir } from 'node:fs/promises';
import { receiveArchive } from '../../../src/build/receive/receive.ts';
import { AppError } from '../../../src/errors/app-error.ts';
import { emptyDirectory } from '../../../src/system/fs/remove-tree.ts';

const [directory = ''] = process.argv.slice(2);
const limits = {
  maxUploadBytes: 256 * 1024 ** 2,
  maxExtractedBytes: 2 * 1024 ** 3,
  maxEntries: 200_000,
  uploadTimeout: 30_000,
};

const before = process.memoryUsage.rss();
let peak = before;
setInterval(() => {
  peak = Math.max(peak, process.memoryUsage.rss());
}, 5).unref();

const { signal } = new AbortController();
const { entries, uploadBytes, code, message, left } = await receiveArchive(process.stdin, directory, limits, {
  contentLength: null,
  signal,
  app: 'shop',
}).then(
  (received) => ({ ...received, code: null, message: null, left: null }),
  async (error: unknown) => {
    if (!(error instanceof AppError)) throw error;
    return {
      entries: 0,
      uploadBytes: 0,
      code: error.code,
      message: error.message,
      left: await readdir(directory),
    };
  },
);
await emptyDirectory(directory);
console.log(JSON.stringify({ entries, uploadBytes, code, message, left, growth: peak - before }));
