import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { type Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { suite, type TestContext, test } from 'node:test';
import { WebSocket } from 'ws';
import { reasonToKill } from '../../src/runner/takeover/end-orphans.ts';
import { ProcessRecords } from '../../src/runner/takeover/process-records.ts';
import { processStartTime } from '../../src/system/process/processes.ts';
import { fetchText, keepAliveAgent } from '../support/http.ts';
import { TestRunner } from '../support/runner.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

/** Request or connection in flight. `finish` lets it end, and returns the release that has answered. */
interface Lasting {
  finish(): Promise<string>;
}

const long = { drainTimeout: '5m', workers: 2 };

suite('the runner is replaced again and again while requests are in flight', { concurrency: true }, () => {
  test('each request and connection of HTTP/1 outlives reloads and kills of the runner, and is answered by its release', async (t) => {
    const runner = await TestRunner.start(t);
    await runner.release(runner.spec('lasting.cjs', long));
    const before = [await request(t, runner), await download(t, runner), await upload(t, runner)];
    const sockets = [await websocket(t, runner)];
    // The live runner retires the first release; the next runners retire the others.
    await runner.release(runner.spec('lasting.cjs', long));
    const second = [await request(t, runner), await websocket(t, runner), await upload(t, runner)];
    await replace(runner, 'leave');
    await runner.release(runner.spec('lasting.cjs', long));
    const third = [await websocket(t, runner), await request(t, runner)];
    await replace(runner, 'kill');
    const booting = runner.boot(runner.spec('lasting.cjs', long));
    const failed = assert.rejects(booting);
    await replace(runner, 'kill');
    await failed;
    await runner.release(runner.spec('lasting.cjs', long));
    const last = await stopWorkers(runner, 1);
    await replace(runner, 'leave');
    await runner.release(runner.spec('lasting.cjs', long));
    await untilKilled(last);
    for (const each of [...before, ...sockets]) assert.equal(await each.finish(), '1');
    for (const each of second) assert.equal(await each.finish(), '2');
    for (const each of third) assert.equal(await each.finish(), '3');
    assert.equal(releaseOf((await fetchText(runner.port)).body), '6');
  });

  test('each stream of HTTP/2 outlives reloads and kills of the runner, and is answered by its release', async (t) => {
    const runner = await TestRunner.start(t);
    const spec = () => runner.spec('lasting.cjs', long, { HTTP2: '1' });
    await runner.release(spec());
    const before = [await stream(t, runner), await stream(t, runner)];
    for (const how of ['leave', 'kill'] as const) {
      await replace(runner, how);
      await runner.release(spec());
    }
    const last = await stopWorkers(runner, 1);
    await replace(runner, 'leave');
    await runner.release(spec());
    await untilKilled(last);
    for (const each of before) assert.equal(await each.finish(), '1');
  });

  test('a keep-alive connection moves to the newest release after its request in flight', async (t) => {
    const runner = await TestRunner.start(t);
    await runner.release(runner.spec('lasting.cjs', { ...long, workers: 1 }));
    const agent = keepAliveAgent();
    t.after(() => agent.destroy());
    const lasting = await request(t, runner, agent);
    for (const how of ['kill', 'leave', 'kill'] as const) {
      await replace(runner, how);
      await runner.release(runner.spec('lasting.cjs', { ...long, workers: 1 }));
    }
    assert.equal(await lasting.finish(), '1');
    const after = httpRequest({ host: '127.0.0.1', port: runner.port, agent }).end();
    const [response] = (await once(after, 'response')) as [IncomingMessage];
    assert.equal(releaseOf(await text(response)), '4');
    assert.ok(after.reusedSocket);
  });

  test('the drainTimeout of its own release limits a worker, not that of a later release', async (t) => {
    const runner = await TestRunner.start(t);
    await runner.release(runner.spec('lasting.cjs', long));
    const patient = await websocket(t, runner);
    const short = { drainTimeout: '9s', killTimeout: '100ms', workers: 1 };
    await runner.release(runner.spec('lasting.cjs', short));
    const [pid = 0] = await workersOf(runner, 2);
    await websocket(t, runner);
    await replace(runner, 'kill');
    await runner.release(runner.spec('lasting.cjs', short));
    // It has retired, so it is not stuck; but now it cannot end itself.
    process.kill(pid, 'SIGSTOP');
    const killed = new RegExp(`pid ${pid}\\) did not end within 9.1 s after it retired`);
    await waitFor(() => killed.test(runner.output), { what: 'the report of a kill' });
    await untilKilled([pid]);
    assert.equal(await patient.finish(), '1');
  });

  test('a retired worker whose event loop stands still while the runner is replaced finishes its requests', async (t) => {
    const runner = await TestRunner.start(t);
    await runner.release(runner.spec('lasting.cjs', { ...long, workers: 1 }));
    const busy = await websocket(t, runner);
    const [pid = 0] = await workersOf(runner, 1);
    await runner.release(runner.spec('lasting.cjs', { ...long, workers: 2 }));
    await waitFor(() => new ProcessRecords(runner.paths.processes).get(pid)?.retiredAt !== undefined);
    process.kill(pid, 'SIGSTOP');
    const witness = await stopWorkers(runner, 1);
    await replace(runner, 'kill');
    await runner.release(runner.spec('lasting.cjs', long));
    await untilKilled(witness);
    process.kill(pid, 'SIGCONT');
    assert.equal(await busy.finish(), '1');
  });

  test('an app that stops while the runner is replaced answers each request, and can start again', async (t) => {
    const runner = await TestRunner.start(t);
    await runner.release(runner.spec('lasting.cjs', long));
    const before = [await request(t, runner), await websocket(t, runner)];
    const stopped = runner.client.call('stop', { key: 'shop' }).catch(() => undefined);
    await waitFor(async () => (await runner.client.call('status', {}))[0]?.active === null);
    await replace(runner, 'leave');
    await stopped;
    await assert.rejects(fetchText(runner.port), { code: 'ECONNREFUSED' });
    await runner.release(runner.spec('lasting.cjs', long));
    before.push(await request(t, runner));
    await replace(runner, 'kill');
    // This runner has not started the app, and stops the workers of the runners before.
    const ended = runner.client.call('stop', { key: 'shop' });
    await waitFor(
      () =>
        fetchText(runner.port).then(
          () => false,
          () => true,
        ),
      { what: 'a closed port' },
    );
    for (const [index, each] of before.entries()) assert.equal(await each.finish(), index < 2 ? '1' : '2');
    await ended;
    assert.deepEqual(
      (await new ProcessRecords(runner.paths.processes).alive()).filter(({ kind }) => kind === 'worker'),
      [],
    );
    assert.doesNotMatch(runner.output, /is killed/);
  });

  test('a worker that was replaced for its memory accepts no requests after the death of the runner, and finishes those it has', async (t) => {
    const runner = await TestRunner.start(t);
    const spec = () => runner.spec('lasting.cjs', { ...long, workers: 1, maxMemory: '150M' });
    await runner.release(spec());
    const lasting = await websocket(t, runner);
    const [old = 0] = await workersOf(runner, 1);
    const answering = async () => Number((await fetchText(runner.port, '/grow')).headers['x-pid']);
    await waitFor(async () => (await answering()) !== old, { what: 'a fresh worker' });
    await waitFor(() => new ProcessRecords(runner.paths.processes).get(old)?.retiredAt !== undefined, {
      what: 'the retirement of the old worker',
    });
    await runner.kill();
    for (let asked = 0; asked < 50; asked += 1)
      assert.notEqual(Number((await fetchText(runner.port)).headers['x-pid']), old);
    await runner.launch();
    await runner.release(spec());
    assert.equal(await lasting.finish(), '1');
  });
});

test('a worker of an earlier runner is killed if it does not retire in time, or a while after its own limits', () => {
  const limits = { drainTimeout: 10_000, killTimeout: 1000 };
  const fate = (now: number, retiredAt?: number) => reasonToKill(limits, { now, since: 100_000, retiredAt });
  assert.equal(fate(102_999), undefined);
  assert.match(fate(103_000) ?? '', /did not retire/);
  assert.equal(fate(103_000, 99_000), undefined);
  assert.equal(fate(111_999, 99_000), undefined);
  assert.match(fate(112_000, 99_000) ?? '', /did not end within 11 s after it retired/);
});

async function replace(runner: TestRunner, how: 'leave' | 'kill'): Promise<void> {
  await (how === 'leave' ? runner.leave() : runner.kill());
  await runner.launch();
}

async function workersOf(runner: TestRunner, release: number): Promise<number[]> {
  const workers = (await runner.client.call('status', {}))[0]?.workers ?? [];
  return workers.filter((worker) => worker.release === release).map(({ pid }) => pid);
}

/**
 * Makes workers of the active release stand still, so that the next runner kills them. By then, it has decided about all workers
 * of earlier runners.
 */
async function stopWorkers(runner: TestRunner, count: number): Promise<number[]> {
  const [status] = await runner.client.call('status', {});
  const active = await workersOf(runner, status?.active?.release ?? 0);
  const stopped = active.slice(0, count);
  assert.equal(stopped.length, count);
  for (const pid of stopped) process.kill(pid, 'SIGSTOP');
  return stopped;
}

async function untilKilled(pids: number[]): Promise<void> {
  for (const pid of pids)
    await waitFor(async () => (await processStartTime(pid)) === undefined, { what: `the end of ${pid}` });
}

/** A request that the app answers once a file is there. */
async function request(t: TestContext, runner: TestRunner, agent?: Agent): Promise<Lasting> {
  const file = join(await temporaryDirectory(t), 'file');
  const answer = fetchText(runner.port, `/?file=${file}`, agent ? { agent } : {});
  return untilFile(
    file,
    answer.then(({ body }) => body),
  );
}

/** A download whose end comes once a file is there. */
async function download(t: TestContext, runner: TestRunner): Promise<Lasting> {
  const file = join(await temporaryDirectory(t), 'file');
  const { body } = await fetch(`http://127.0.0.1:${runner.port}/download?file=${file}`);
  const parts = text(body as ReadableStream).then((all) => all.split('\n'));
  return untilFile(
    file,
    parts.then(([first, second]) => {
      assert.equal(first, second);
      return first ?? '';
    }),
  );
}

/** A stream of HTTP/2 that is answered once a file is there. */
async function stream(t: TestContext, runner: TestRunner): Promise<Lasting> {
  const file = join(await temporaryDirectory(t), 'file');
  const session = connectHttp2(`http://127.0.0.1:${runner.port}`);
  t.after(() => session.destroy());
  const body = text(session.request({ ':path': `/?file=${file}` }));
  return untilFile(file, body);
}

async function untilFile(file: string, answer: Promise<string>): Promise<Lasting> {
  // A failure counts in `finish`.
  answer.catch(() => undefined);
  await waitFor(() => existsSync(`${file}.begun`), { what: 'a request in flight' });
  return {
    async finish() {
      await writeFile(file, '');
      return releaseOf(await answer);
    },
  };
}

/** An upload whose end has not been sent. */
async function upload(t: TestContext, runner: TestRunner): Promise<Lasting> {
  const sent = httpRequest({
    ...{ host: '127.0.0.1', port: runner.port, method: 'POST', agent: false },
    headers: { expect: '100-continue' },
  });
  t.after(() => sent.destroy());
  const answer = once(sent, 'response').then(([response]) => text(response as IncomingMessage));
  answer.catch(() => undefined);
  sent.flushHeaders();
  await once(sent, 'continue');
  sent.write('first');
  return {
    async finish() {
      sent.end('last');
      return releaseOf(await answer);
    },
  };
}

async function websocket(t: TestContext, runner: TestRunner): Promise<Lasting> {
  const socket = new WebSocket(`ws://127.0.0.1:${runner.port}`);
  t.after(() => socket.terminate());
  await once(socket, 'open');
  return {
    async finish() {
      socket.send('');
      const [message] = await once(socket, 'message', { signal: AbortSignal.timeout(20_000) });
      socket.terminate();
      return releaseOf(String(message));
    },
  };
}

function releaseOf(answer: string): string {
  return answer.split(' ')[0] ?? '';
}
