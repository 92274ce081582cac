import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { AppError, errorBody } from '../../src/errors/app-error.ts';
import { CallClient, serveCalls } from '../../src/protocol/peer.ts';
import { temporaryDirectory } from '../support/temporary.ts';

type Failing = { fail: { params: object; result: object; progress: never } };

/** Returns the error of a call whose other side does `work`. */
async function answerTo(t: TestContext, work: () => Promise<object>): Promise<unknown> {
  const path = join(await temporaryDirectory(t), 'socket');
  const server = createServer((socket) => serveCalls<Failing>(socket, { fail: work })).listen(path);
  await once(server, 'listening');
  const client = new CallClient<Failing>(connect(path), () => new AppError('runner_unavailable', 'gone'));
  try {
    return await client.call('fail', {});
  } catch (error) {
    return error;
  } finally {
    client.close();
    server.close();
  }
}

test('an error of the other side names a full disk', {
  skip: process.platform !== 'linux',
}, async (t) => {
  const error = await answerTo(t, async () => {
    await writeFile('/dev/full', 'x');
    return {};
  });
  assert.equal((error as AppError).code, 'disk_full');
});

test('an internal error of the other side is logged, and hidden from clients', async (t) => {
  const error = await answerTo(t, async () => {
    throw new Error('/home/sluice/secret is odd');
  });
  assert.match((error as Error).message, /secret is odd/);
  assert.equal(errorBody(error).message, 'Internal error');
});
