import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { finished } from 'node:stream/promises';
import { type TestContext, test } from 'node:test';
import * as v from 'valibot';
import { drain, jsonBody, uploadBody } from '../../src/api/body.ts';
import type { ApiContext } from '../../src/api/context.ts';
import { AppError } from '../../src/errors/app-error.ts';
import { withDeadline } from '../../src/system/concurrency/deadline.ts';

const head = (length: number) => `POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${length}\r\n\r\n`;

/** Ways in which a client may disconnect. */
const ways: Record<string, (client: Socket) => void> = {
  FIN: (client) => client.destroy(),
  RST: (client) => client.resetAndDestroy(),
  'half-close': (client) => client.end(),
};

for (const [way, leave] of Object.entries(ways)) {
  test(`a reader gets an error if the sender disconnected by ${way} before the upload is opened`, async (t) => {
    const { client, request, gone } = await arrived(t, `${head(100)}half`);
    leave(client);
    await gone;
    await assert.rejects(finished(uploadBody(request)), /closed the connection/);
  });

  test(`a later reader gets an error if the sender disconnects by ${way} while no code reads`, async (t) => {
    const { client, request, gone } = await arrived(t, `${head(100)}half`);
    const body = uploadBody(request);
    leave(client);
    await gone;
    // A deploy that waits in the queue reads as late as this.
    await new Promise(setImmediate);
    assert.equal(body.destroyed, true);
    await assert.rejects(finished(body));
  });

  test(`a small upload that has arrived is read although its sender disconnected by ${way}`, async (t) => {
    const { client, request, gone } = await arrived(t, `${head(4)}full`);
    const body = uploadBody(request);
    leave(client);
    await gone;
    assert.equal(Buffer.concat(await body.toArray()).toString(), 'full');
  });

  test(`reading a JSON body fails at once if the sender disconnects by ${way}`, async (t) => {
    const { client, request, gone } = await arrived(t, `${head(100)}{"half"`);
    leave(client);
    await gone;
    const body = jsonBody({ req: request } as ApiContext, v.strictObject({}));
    await assert.rejects(body, {
      code: 'bad_request',
      message: 'the connection was lost before the end of the body',
    });
  });
}

test('a late JSON body is refused, and a timely one is accepted', async (t) => {
  const slow = await arrived(t, `${head(100)}{`);
  const timer = setInterval(() => slow.client.write(' '), 20);
  t.after(() => clearInterval(timer));
  await assert.rejects(jsonBody({ req: slow.request } as ApiContext, v.strictObject({}), 300), {
    code: 'bad_request',
    message: 'The body did not arrive within 300 ms.',
  });
  const { request } = await arrived(t, `${head(2)}{}`);
  assert.deepEqual(await jsonBody({ req: request } as ApiContext, v.strictObject({}), 60_000), {});
});

test('an upload arrives whole if it is read in time', async (t) => {
  const { request } = await arrived(t, `${head(4)}full`);
  assert.equal(Buffer.concat(await uploadBody(request).toArray()).toString(), 'full');
});

for (const [what, refuse] of Object.entries({
  'a JSON body that is too large': (request: IncomingMessage) =>
    jsonBody({ req: request } as ApiContext, v.any()),
  'an upload that no code has read': async (request: IncomingMessage) => {
    using body = new DisposableStack();
    body.adopt(uploadBody(request), (each) => each.destroy());
    throw new AppError('bad_request', 'refused');
  },
})) {
  test(`the rest of ${what} is read at once after it was refused`, async (t) => {
    const length = 8 * 1024 ** 2;
    const { client, request } = await arrived(t, head(length));
    client.write(Buffer.alloc(length));
    // As src/api/errors.ts does: no other event may come between.
    const drained = refuse(request).catch(() => drain(request));
    const { timedOut } = await withDeadline(drained, 5000);
    assert.equal(timedOut, false);
    assert.equal(request.complete, true);
  });
}

/** Returns a request as a server sees it, and the client that has sent the request. */
async function arrived(t: TestContext, bytes: string) {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
  t.after(() => client.destroy());
  client.on('error', () => undefined);
  const asked = once(server, 'request') as Promise<[IncomingMessage, ServerResponse]>;
  client.write(bytes);
  const [request] = await asked;
  // As src/api/koa.ts does.
  request.on('error', () => undefined);
  // `once` of node:events would reject at the `error` that comes first.
  const gone = new Promise<void>((resolve) => request.once('close', () => resolve()));
  return { client, request, gone };
}
