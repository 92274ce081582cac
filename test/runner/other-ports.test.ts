import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import { withDeadline } from '../../src/system/concurrency/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { fetchText } from '../support/http.ts';
import { sharesPorts, TestRunner } from '../support/runner.ts';
import { thorough } from '../support/tiers.ts';
import { waitFor } from '../support/wait.ts';

/** Returns a runner, and a second port for its app. */
async function start(t: TestContext): Promise<{ runner: TestRunner; other: number; spec: Spec }> {
  const [runner, other] = [await TestRunner.start(t), await freePort()];
  const spec: Spec = (how, settings) =>
    runner.spec('listening.cjs', settings, { HOW: how, OTHER_PORT: String(other) });
  return { runner, other, spec };
}

type Spec = (how: string, settings?: object) => ReturnType<TestRunner['spec']>;

/** Connects again and again while `running` runs. @returns the results of the attempts */
async function tryWhile(port: number, running: Promise<unknown>): Promise<string[]> {
  let over = false;
  const outcomes: string[] = [];
  void running.catch(() => undefined).finally(() => (over = true));
  while (!over) {
    const outcome = await fetchText(port).then(
      ({ body }) => body,
      (error: NodeJS.ErrnoException) => error.code ?? error.message,
    );
    outcomes.push(outcome);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return outcomes;
}

test('no port of an unhealthy release can be reached while it boots', async (t) => {
  const { runner, other, spec } = await start(t);
  const boot = runner.boot(spec('beside-unwell', { bootTimeout: '5s' }));
  const [onOther, onOwn] = await Promise.all([tryWhile(other, boot), tryWhile(runner.port, boot)]);
  await assert.rejects(boot, { code: 'health_failed' });
  assert.deepEqual(new Set([...onOther, ...onOwn]), new Set(['ECONNREFUSED']));
});

test('an unhealthy release answers nothing on the second port of the live release (thorough)', async (t) => {
  const { runner, other, spec } = await start(t);
  await runner.release(spec('beside-plain'));
  const boot = runner.boot(spec('beside-unwell', { bootTimeout: '5s' }));
  const outcomes = await tryWhile(other, boot);
  await assert.rejects(boot, { code: 'health_failed' });
  assert.deepEqual(new Set(outcomes), new Set(['1']));
});

test('the second port of a release that waits for its switch cannot be reached (thorough)', async (t) => {
  const { runner, other, spec } = await start(t);
  const { generation } = await runner.boot(spec('beside-plain'));
  await assert.rejects(fetchText(other), { code: 'ECONNREFUSED' });
  await runner.client.call('switch', { key: 'shop', generation });
  assert.equal((await fetchText(other)).headers['x-mark'], '1');
});

// Before Node.js 22.12 the port may be another worker's, so the worker waits for it.
test('a second port that another process has fails the boot, as on plain Node.js (thorough)', {
  skip: !sharesPorts(),
}, async (t) => {
  const { runner, other, spec } = await start(t);
  const owner = createServer().listen(other, '::');
  t.after(() => owner.close());
  await once(owner, 'listening');
  await assert.rejects(runner.boot(spec('beside-plain')), (error: Error) => {
    assert.match(error.message, new RegExp(`listen EADDRINUSE: address already in use :::${other}`));
    return true;
  });
});

test('connections that wait on a second port while its worker is busy are answered over a switch (thorough)', async (t) => {
  const { runner, other, spec } = await start(t);
  await runner.release(spec('beside-plain', { workers: 1, drainTimeout: '60s' }));
  const { generation } = await runner.boot(spec('beside-plain', { workers: 1 }));
  const blocked = fetchText(runner.port, '/block');
  const probe = await waitFor(async () => {
    const answer = fetchText(other);
    const { timedOut } = await withDeadline(answer, 200);
    return timedOut && { answer };
  });
  const waiting = Array.from({ length: 8 }, () => fetchText(other));
  const switched = runner.client.call('switch', { key: 'shop', generation });
  const answers = await Promise.all([probe.answer, ...waiting]);
  assert.deepEqual(new Set(answers.map(({ body }) => body)), new Set(['1']));
  await Promise.all([switched, blocked]);
  const isNew = () =>
    fetchText(other).then(
      ({ body }) => body === '2',
      () => false,
    );
  await waitFor(isNew, { what: 'the new release' });
});

for (const end of ['switch', 'stop'] as const) {
  test(`a request on a second port is answered in full over a ${end}${thorough(end !== 'switch')}`, async (t) => {
    const { runner, other, spec } = await start(t);
    // With two workers, a refused connection would not show that the one with the request has closed its port.
    const workers = end === 'stop' ? 1 : 2;
    await runner.release(spec('beside-plain', { drainTimeout: '60s', workers }));
    const socket = connect(other, '127.0.0.1').setEncoding('utf8');
    t.after(() => socket.destroy());
    socket.write('POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n');
    assert.match(String(await once(socket, 'data')), /^HTTP\/1.1 100/);
    const ended =
      end === 'stop' ? runner.client.call('stop', { key: 'shop' }) : runner.release(spec('beside-plain'));
    if (end === 'switch') await ended;
    else
      await waitFor(() =>
        fetchText(other).then(
          () => false,
          () => true,
        ),
      );
    const closed = once(socket, 'close');
    socket.write('body');
    for (let isLast = false; !isLast; ) {
      const answer = String(await once(socket, 'data'));
      assert.match(answer, /x-mark: 1/i);
      isLast = /connection: close/i.test(answer);
      // The worker closes the port a moment after the switch: until then its answers do not end the connection.
      if (!isLast) socket.write('GET / HTTP/1.1\r\nhost: app\r\n\r\n');
    }
    await closed;
    await ended;
  });
}

test('an app that has closed the server of its second port answers its requests in flight over a switch (thorough)', async (t) => {
  const { runner, other, spec } = await start(t);
  await runner.release(spec('beside-closed', { workers: 1, drainTimeout: '60s' }));
  assert.equal((await fetchText(other)).body, 'beside');
  assert.equal((await fetchText(runner.port, '/close')).body, 'closed');
  const { generation } = await runner.boot(spec('beside-plain'));
  const held = await fetch(`http://127.0.0.1:${runner.port}/held`);
  await runner.client.call('switch', { key: 'shop', generation });
  assert.equal(await held.text(), '1held');
});
