// Receives an archive from standard input into the directory named, and says how much its memory grew meanwhile.
import { receiveArchive } from '../../src/sources/receive.ts';

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
const received = await receiveArchive(process.stdin, directory, limits, { contentLength: null, signal });
console.log(JSON.stringify({ ...received, growth: peak - before }));
