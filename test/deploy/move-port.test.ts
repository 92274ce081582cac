import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import type { ReadableStream } from 'node:stream/web';
import { test } from 'node:test';
import { describeLive } from '../../src/config/reach.ts';
import type { DeployEvent } from '../../src/deploy/events.ts';
import { waitsForPort } from '../../src/deploy/move-port.ts';
import { running } from '../support/apps.ts';
import { doctor } from '../support/doctor.ts';
import { freePort } from '../support/free-port.ts';
import { fetchText } from '../support/http.ts';
import { type Sluice, startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';

/** App whose workers each answer with their pid, and a program of another kind on a port. */
const answeringWithPid = running(
  "require('node:http').createServer((request, response) => response.end(String(process.pid))).listen(process.env.PORT);",
);

const other = (port: number) => `
  const server = require('node:http').createServer((request, response) => response.end('other'));
  server.listen(${port}, () => console.log('listens'));
  process.on('SIGINT', () => server.close(() => process.exit()));
`;

async function startOther(t: { after(work: () => void): void }, port: number): Promise<ChildProcess> {
  const child = spawn(process.execPath, ['-e', other(port)], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => void child.kill('SIGKILL'));
  await once(child.stdout as NonNullable<typeof child.stdout>, 'data');
  return child;
}

/** Moves an app, and calls `waiting` when its workers wait for the port. */
async function move(sluice: Sluice, body: unknown, waiting = () => {}): Promise<DeployEvent[]> {
  const headers = { accept: 'application/x-ndjson', 'content-type': 'application/json' };
  const init = { method: 'POST', headers, body: JSON.stringify(body) };
  const response = await sluice.request('/v1/apps/shop/port', init);
  const events: DeployEvent[] = [];
  const lines = createInterface({ input: Readable.fromWeb(response.body as ReadableStream) });
  for await (const line of lines) {
    const event = JSON.parse(line) as DeployEvent;
    if (event.event === 'notice' && event.code === waitsForPort) waiting();
    events.push(event);
  }
  return events;
}

const answerOf = async (port: number) => (await fetchText(port)).body;

test('an app takes the port of another program when that program ends, and keeps the port', async (t) => {
  const sluice = await startSluice(t);
  await sluice.deploy('shop', answeringWithPid);
  const { port: former } = await sluice.status('shop');
  const port = await freePort();
  const program = await startOther(t, port);
  assert.equal(await answerOf(port), 'other');

  const events = await move(sluice, { port, host: '::' }, () => program.kill('SIGINT'));
  assert.equal(events.at(-1)?.event, 'live', JSON.stringify(events.at(-1)));
  const status = await sluice.status('shop');
  assert.equal(status.port, port);
  assert.equal(status.url, `http://localhost:${port}`);
  // The app had an address of this machine only, as all others have.
  assert.equal(
    (await doctor(sluice.home)).checks['outside']?.message,
    `apps can be reached from this machine only, except shop (port ${port} of ::)`,
  );
  const [release] = await sluice.releases('shop');
  assert.equal(
    release && describeLive({ release, tookMs: 5 }),
    `http://localhost:${port} release 1 in 5 ms (on all addresses of the server)`,
  );
  assert.equal(await answerOf(port), String(status.workers[0]?.pid));
  assert.equal((await fetchText(port, '/', { host: '::1' })).status, 200);
  await waitFor(
    () =>
      fetchText(former).then(
        () => false,
        () => true,
      ),
    { what: 'the end of the former port' },
  );

  // The next worker, the next release and the next runner have the same port.
  await sluice.call('POST', '/v1/apps/shop/restart');
  assert.notEqual(await answerOf(port), String(status.workers[0]?.pid));
  await sluice.deploy('shop', answeringWithPid);
  await sluice.stop();
  await sluice.up();
  await sluice.untilRunning('shop');
  assert.match(await answerOf(port), /^\d+$/);

  // It goes back to a port of its own, so that the program can have its port again.
  const back = await move(sluice, { port: null });
  assert.equal(back.at(-1)?.event, 'live');
  const again = await sluice.status('shop');
  assert.notEqual(again.port, port);
  assert.match(again.url, /^http:\/\/127\.0\.0\.1:/);
  await waitFor(
    () =>
      fetchText(port).then(
        () => false,
        () => true,
      ),
    { what: 'the end of the port' },
  );
  await startOther(t, port);
  assert.equal(await answerOf(port), 'other');
});

test('an app keeps its port if the other program does not end', async (t) => {
  const sluice = await startSluice(t);
  await sluice.deploy('shop', answeringWithPid);
  const before = await sluice.status('shop');
  const port = await freePort();
  await startOther(t, port);
  const [last] = (await move(sluice, { port, host: '::', within: 100 })).slice(-1);
  assert.equal(last?.event === 'failed' && last.error.code, 'port_taken');
  assert.equal(await answerOf(port), 'other');
  const { port: after, workers } = await sluice.status('shop');
  assert.equal(after, before.port);
  assert.equal(await answerOf(after), String(before.workers[0]?.pid));

  // Its worker can still be replaced.
  process.kill(workers[0]?.pid ?? 0, 'SIGKILL');
  const next = await waitFor(async () => {
    const pid = (await sluice.status('shop')).workers.find(({ state }) => state === 'open')?.pid;
    return pid !== undefined && pid !== before.workers[0]?.pid && pid;
  });
  assert.equal(await answerOf(after), String(next));
});

test('an app cannot take the port of another app', async (t) => {
  const sluice = await startSluice(t);
  await sluice.deploy('shop', answeringWithPid);
  await sluice.deploy('blog', answeringWithPid);
  const { port } = await sluice.status('blog');
  await assert.rejects(sluice.call('POST', '/v1/apps/shop/port', { port }), {
    code: 'port_taken',
    message: `port ${port} belongs to blog`,
  });
  await assert.rejects(sluice.call('POST', '/v1/apps/shop/port', { port: 0 }), { code: 'bad_request' });
});

test('a token for one app cannot take a port of the machine', async (t) => {
  const sluice = await startSluice(t);
  await sluice.deploy('shop', answeringWithPid);
  const { port } = await sluice.status('shop');
  const admin = { name: 'shopkeeper', scopes: ['admin'], app: 'shop' };
  const { token } = await sluice.call<{ token: string }>('POST', '/v1/tokens', admin);
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  const body = JSON.stringify({ port: await freePort(), host: '0.0.0.0' });
  const moved = await fetch(`${sluice.url}/v1/apps/shop/port`, { method: 'POST', headers, body });
  assert.equal(moved.status, 403);
  assert.equal((await sluice.status('shop')).port, port);
});
