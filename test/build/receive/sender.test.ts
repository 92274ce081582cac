import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdir, stat } from 'node:fs/promises';
import { createServer, type IncomingMessage, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { AppError } from '../../../src/errors/app-error.ts';
import { tarball } from '../../support/archive.ts';
import { waitFor } from '../../support/wait.ts';
import { receive, staging } from './support.ts';

const archive = tarball([{ path: 'f', content: randomBytes(500_000) }]);

/** Starts a real upload over HTTP. Returns the sending side and the request of the server. */
async function upload(t: TestContext) {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const sender = request({ port, host: '127.0.0.1', method: 'POST' });
  const arrived = once(server, 'request') as Promise<[IncomingMessage]>;
  sender.on('error', () => undefined);
  sender.flushHeaders();
  const [body] = await arrived;
  return { sender, body };
}

test('an upload that stops for uploadTimeout is rejected and leaves nothing', async (t) => {
  const { directory } = await staging(t);
  const { sender, body } = await upload(t);
  sender.write(archive.subarray(0, 100_000));
  await assert.rejects(receive(body, directory, { uploadTimeout: 200 }), {
    code: 'upload_stalled',
    message: 'the upload stopped for 200 ms after 98 KiB',
  });
  assert.deepEqual(await readdir(directory), ['.sluice']);
});

test('a slow upload is accepted', async (t) => {
  const { directory } = await staging(t);
  const { sender, body } = await upload(t);
  let at = 0;
  const timer = setInterval(() => {
    sender.write(archive.subarray(at, at + 50_000));
    at += 50_000;
    if (at >= archive.length) {
      clearInterval(timer);
      sender.end();
    }
  }, 60);
  const { uploadBytes } = await receive(body, directory, { uploadTimeout: 400 });
  assert.equal(uploadBytes, archive.length);
});

test('a pause of the server is not a pause of the sender', async (t) => {
  const { directory } = await staging(t);
  const { sender, body } = await upload(t);
  const received = receive(body, directory, { uploadTimeout: 200 });
  sender.write(archive.subarray(0, 100_000));
  await untilUnpacked(directory, 100_000);
  sender.end(archive.subarray(100_000));
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500);
  assert.equal((await received).uploadBytes, archive.length);
});

test('a sender that disconnects has its own error', async (t) => {
  const { directory } = await staging(t);
  const { sender, body } = await upload(t);
  sender.write(archive.subarray(0, 100_000));
  const received = receive(body, directory);
  const outcome = assert.rejects(received, { code: 'upload_aborted', message: /disconnected after 98 KiB/ });
  await untilUnpacked(directory, 100_000);
  sender.destroy();
  await outcome;
  assert.deepEqual(await readdir(directory), ['.sluice']);
});

/** Waits until the sent bytes of the file are on the disk. */
async function untilUnpacked(directory: string, sent: number): Promise<void> {
  const bytes = async () => {
    const [incoming = ''] = (await readdir(directory)).filter((name) => name.startsWith('.incoming-'));
    return (await stat(join(directory, incoming, 'f')).catch(() => undefined))?.size ?? 0;
  };
  const whole = sent - (sent % 512) - 512;
  await waitFor(async () => (await bytes()) >= whole, { what: 'what was sent' });
}

test('a cancelled upload ends with the reason and leaves nothing', async (t) => {
  const { directory } = await staging(t);
  const { sender, body } = await upload(t);
  const controller = new AbortController();
  sender.write(archive.subarray(0, 100_000));
  const outcome = assert.rejects(receive(body, directory, { signal: controller.signal }), {
    code: 'cancelled',
    message: 'enough',
  });
  await waitFor(async () => (await readdir(directory)).length > 1);
  controller.abort(new AppError('cancelled', 'enough'));
  await outcome;
  assert.deepEqual(await readdir(directory), ['.sluice']);
});

test('an announced size over the limit is rejected before the first read', async (t) => {
  const { directory } = await staging(t);
  const body = new PassThrough();
  body.write(archive);
  await assert.rejects(receive(body, directory, { contentLength: 9 * 1024 * 1024 }), {
    code: 'upload_too_large',
    message: 'the upload is 9.0 MiB, more than the limit of 8.0 MiB',
  });
  assert.equal(body.readableLength, archive.length);
});

test('a rejection does not wait for the sender, and leaves the rest of the body readable', async (t) => {
  const { directory } = await staging(t);
  const { sender, body } = await upload(t);
  sender.write(gzipSync(tarball([{ path: '../evil', content: randomBytes(50_000) }])).subarray(0, -10));
  await assert.rejects(receive(body, directory), { code: 'archive_unsafe' });
  assert.equal(body.destroyed, false);
  assert.deepEqual([body.listenerCount('readable'), body.listenerCount('data')], [0, 0]);
  sender.end('the rest');
  body.resume();
  await once(body, 'end');
});
