import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { Agent, get as getSecure } from 'node:https';
import { connect } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { freePort } from '../support/free-port.ts';
import { fetchText } from '../support/http.ts';
import { isAppNodeFrom, TestRunner } from '../support/runner.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { thorough } from '../support/tiers.ts';

for (const script of ['esm.mjs', 'express.cjs', 'koa.mjs', 'fastify.mjs']) {
  const skip = script === 'fastify.mjs' && !isAppNodeFrom(20, 0) && 'Fastify 5 needs Node.js 20';
  test(`an app as ${script} is switched without its knowing${thorough(script !== 'express.cjs')}`, {
    skip,
  }, async (t) => {
    const runner = await TestRunner.start(t);
    await runner.release(runner.spec(script));
    assert.equal((await fetchText(runner.port)).body, '1');
    await runner.release(runner.spec(script));
    assert.equal((await fetchText(runner.port)).body, '2');
  });
}

async function certificate(t: TestContext): Promise<{ TLS_KEY: string; TLS_CERT: string }> {
  const directory = await temporaryDirectory(t);
  const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')];
  const request = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost`;
  execFileSync('openssl', [...request.split(' '), '-keyout', key, '-out', cert], { stdio: 'ignore' });
  return { TLS_KEY: key, TLS_CERT: cert };
}

test('an idle connection of TLS that an app feeds into its http server does not hurt the others at a switch', async (t) => {
  const runner = await TestRunner.start(t);
  const port = await freePort();
  const environment = { ...(await certificate(t)), TLS_PORT: String(port) };
  await runner.release(runner.spec('https.cjs', { workers: 1, drainTimeout: '10s' }, environment));
  const { generation } = await runner.boot(runner.spec('https.cjs', { workers: 1 }, environment));
  const socket = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false }).setEncoding('utf8');
  t.after(() => socket.destroy());
  socket.write('GET / HTTP/1.1\r\nhost: app\r\n\r\n');
  await once(socket, 'data');
  const underWay = fetchText(runner.port, '/slow');
  assert.equal((await fetchText(runner.port)).body, '1');
  await runner.client.call('switch', { key: 'shop', generation });
  assert.equal((await underWay).body, '1');
  assert.equal((await fetchText(runner.port)).body, '2');
});

test('an app that speaks TLS itself finishes what it has, and closes with the next response (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  // A busy machine may take longer to boot the next one than the 5 s after which Node closes an idle connection.
  const environment = { ...(await certificate(t)), KEEP_ALIVE_TIMEOUT: '60000' };
  const agent = new Agent({ keepAlive: true, maxSockets: 1, rejectUnauthorized: false });
  t.after(() => agent.destroy());
  const ask = () =>
    new Promise<{ body: string; connection: string | undefined }>((resolve, reject) => {
      getSecure({ host: '127.0.0.1', port: runner.port, agent }, (response) => {
        text(response).then((body) => resolve({ body, connection: response.headers.connection }), reject);
      }).on('error', reject);
    });
  await runner.release(runner.spec('https.cjs', { drainTimeout: '30s' }, environment));
  assert.deepEqual(await ask(), { body: '1', connection: 'keep-alive' });
  await runner.release(runner.spec('https.cjs', {}, environment));
  assert.deepEqual(await ask(), { body: '1', connection: 'close' });
  assert.deepEqual(await ask(), { body: '2', connection: 'keep-alive' });
});

test('a plain TCP server keeps its connections and gets no new ones (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('net.cjs', { health: { path: '/' }, drainTimeout: '30s' }));
  const before = connect(runner.port, '127.0.0.1').setEncoding('utf8');
  t.after(() => before.destroy());
  const ask = (socket: typeof before) =>
    new Promise((resolve) => {
      socket.once('data', resolve);
      socket.write('?\n');
    });
  assert.equal(await ask(before), '1\n');
  await runner.release(runner.spec('net.cjs'));
  const after = connect(runner.port, '127.0.0.1').setEncoding('utf8');
  t.after(() => after.destroy());
  assert.equal(await ask(after), '2\n');
  assert.equal(await ask(before), '1\n');
});
