import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable, Transform, Writable } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import { finished, pipeline } from 'node:stream/promises';
import type { ReadableStream as WebStream } from 'node:stream/web';
import { test } from 'node:test';
import * as zlib from 'node:zlib';
import { carry, loads } from './support/carry.ts';
import { listening } from './support/servers.ts';

for (const load of loads) {
  test(`a stream in the process carries ${load.what} whole where its reader starts late`, async () => {
    const stream = new PassThrough();
    await carry(stream, stream, load);
  });

  test(`${load.what} is the same after each compression and decompression`, async () => {
    for (const [compress, expand] of [
      [zlib.createGzip({ level: 1 }), zlib.createGunzip()],
      [zlib.createDeflate({ level: 1 }), zlib.createInflate()],
      [
        zlib.createBrotliCompress({ params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 1 } }),
        zlib.createBrotliDecompress(),
      ],
      [zlib.createZstdCompress(), zlib.createZstdDecompress()],
    ] as const) {
      const pieces = Array.from({ length: 100 }, () => load.piece);
      const output = await text(Readable.from(pieces).pipe(compress).pipe(expand));
      assert.equal(output, pieces.join(''));
    }
  });
}

test('a compressed stream that is cut or damaged fails, and bytes after its end are read as the next stream', async () => {
  const whole = zlib.gzipSync('語'.repeat(10_000));
  const expand = (bytes: Buffer) => text(Readable.from([bytes]).pipe(zlib.createGunzip()));
  const cut = zlib.createGunzip();
  cut.end(whole.subarray(0, -8));
  await assert.rejects(text(cut), { code: 'Z_BUF_ERROR' });
  const damaged = zlib.createGunzip();
  damaged.end(Buffer.concat([whole.subarray(0, 20), Buffer.alloc(whole.length - 20, 255)]));
  await assert.rejects(text(damaged), { code: 'Z_DATA_ERROR' });
  assert.equal((await expand(Buffer.concat([whole, whole]))).length, 20_000);
});

test('a pipeline ends with the first error, and destroys all its streams', async () => {
  const failing = new Transform({
    transform: (_chunk, _encoding, done) => done(new RangeError('in the middle')),
  });
  const source = Readable.from(
    (async function* () {
      for (;;) yield 'more';
    })(),
  );
  const sink = new Writable({ write: (_chunk, _encoding, done) => done() });
  await assert.rejects(pipeline(source, failing, sink), { message: 'in the middle' });
  assert.deepEqual([source.destroyed, failing.destroyed, sink.destroyed], [true, true, true]);
});

test('leaving a loop over a stream early destroys the stream, and its source ends', async () => {
  let ended = false;
  const stream = Readable.from(
    (async function* () {
      try {
        for (;;) yield 'more';
      } finally {
        ended = true;
      }
    })(),
  );
  const closed = new Promise((resolve) => stream.once('close', resolve));
  for await (const _ of stream) break;
  await closed;
  assert.equal(ended, true);
});

test('streams of Node.js and of the web convert to each other, and wait for their readers', async () => {
  const pieces = Array.from({ length: 1000 }, () => randomBytes(5000));
  let produced = 0;
  const source = Readable.from(
    (function* () {
      for (const piece of pieces) {
        produced += 1;
        yield piece;
      }
    })(),
  );
  const web = Readable.toWeb(source) as ReadableStream;
  const compressed = web.pipeThrough(new TransformStream()).pipeThrough(new CompressionStream('gzip'));
  const expanded = Readable.fromWeb(compressed as WebStream).pipe(zlib.createGunzip());
  await once(expanded, 'readable');
  assert.ok(produced < pieces.length, `${produced} were read ahead`);
  assert.deepEqual(await buffer(expanded), Buffer.concat(pieces));
});

test('streams copy a file, and a missing file is an error', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'sluice-test-'));
  t.after(() => rm(directory, { recursive: true }));
  const [one, two] = [join(directory, 'one'), join(directory, 'two')];
  const content = '語'.repeat(1_000_000);
  await pipeline(Readable.from([content]), createWriteStream(one));
  await pipeline(createReadStream(one, { start: 3 }), createWriteStream(two));
  assert.equal(await readFile(two, 'utf8'), content.slice(1));
  await assert.rejects(finished(createReadStream(join(directory, 'none')).resume()), { code: 'ENOENT' });
});

test('the async context of a request reaches all work that the request starts, and no other request', async (t) => {
  const context = new AsyncLocalStorage<string>();
  const port = await listening(
    t,
    createServer(({ url = '' }, response) => {
      context.run(url, async () => {
        await new Promise((resolve) => setTimeout(resolve, 5));
        await Promise.all([
          new Promise(setImmediate),
          readFile(import.meta.filename),
          new Promise(process.nextTick),
        ]);
        const output = new PassThrough();
        output.once('end', () => response.end(context.getStore())).resume();
        output.end();
      });
    }),
  );
  const ask = async (path: string) => {
    const [answer] = await once(get({ port, host: '127.0.0.1', path, agent: false }), 'response');
    return text(answer);
  };
  const paths = Array.from({ length: 50 }, (_, number) => `/${number}`);
  assert.deepEqual(await Promise.all(paths.map(ask)), paths);
});
