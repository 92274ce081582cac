import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, rm } from 'node:fs/promises';
import { connect as connectHttp2 } from 'node:http2';
import { request } from 'node:https';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { WebSocket } from 'ws';
import { answering, running } from '../support/apps.ts';
import { fetchText } from '../support/http.ts';
import { askHost, secureConnection } from '../support/https.ts';
import { machineWithNginx } from '../support/nginx.ts';
import { startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';
import { wholeFile } from '../support/whole-file.ts';

/** App of the tests. It implements websockets itself, so it needs no package. */
const app = `
  const { createHash } = require('node:crypto');
  const http = require('node:http');
  let posts = 0;
  let received = 0;
  let events;
  const server = http.createServer((request, response) => {
    const url = new URL(request.url, 'http://x');
    const { pathname } = url;
    if (pathname === '/headers') return response.end(JSON.stringify(request.headers));
    if (pathname === '/socket') return response.end(String(request.socket.remotePort));
    if (pathname === '/url') return response.end(request.url);
    if (pathname === '/html') return response.writeHead(200, { 'content-type': 'text/html' }).end('x'.repeat(5000));
    if (pathname === '/error') return response.writeHead(503, { 'content-type': 'text/plain' }).end('own words');
    if (pathname === '/redirect') return response.writeHead(302, { location: 'http://127.0.0.1/there' }).end();
    if (pathname === '/die') { posts += 1; return request.socket.destroy(); }
    if (pathname === '/posts') return response.end(String(posts));
    if (pathname === '/received') return response.end(String(received));
    if (pathname === '/memory') return response.end(String(process.memoryUsage().rss));
    if (pathname === '/upload') {
      received = 0;
      request.on('data', (chunk) => { received += chunk.length; });
      request.on('end', () => response.end(String(received)));
      return;
    }
    if (pathname === '/events') {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: 0\\n\\n');
      events = response;
      return;
    }
    if (pathname === '/event') { events.write('data: ' + url.searchParams.get('number') + '\\n\\n'); return response.end(); }
    if (pathname === '/large') {
      const chunk = Buffer.alloc(65536, 'x');
      let left = 100 * 1024 * 1024;
      response.writeHead(200, { 'content-length': left });
      const more = () => {
        while (left > 0) {
          left -= chunk.length;
          if (!response.write(chunk)) return response.once('drain', more);
        }
        response.end();
      };
      return more();
    }
    response.end('the shop');
  });
  server.on('upgrade', (request, socket) => {
    const guid = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
    const accept = createHash('sha1').update(request.headers['sec-websocket-key'] + guid).digest('base64');
    socket.write('HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Accept: ' + accept + '\\r\\n\\r\\n');
    socket.on('data', (frame) => {
      if ((frame[0] & 15) === 8) return socket.end(Buffer.from([0x88, 0]));
      const size = frame[1] & 127;
      const mask = frame.subarray(2, 6);
      const data = Buffer.from(frame.subarray(6, 6 + size).map((byte, at) => byte ^ mask[at % 4]));
      socket.write(Buffer.concat([Buffer.from([0x81, size]), data]));
    });
    socket.on('error', () => socket.destroy());
  });
  server.listen(process.env.PORT);
`;

const name = 'shop.example.com';
const machine = await machineWithNginx(wholeFile);
const sluice = await startSluice(wholeFile, { apiSocket: machine.apiSocket });
await machine.serve(sluice.home);
await sluice.deploy('shop', running(app, { drainTimeout: '2s' }));
await sluice.call('POST', '/v1/domains', { name, app: 'shop', certificate: 'self-signed' });

const ask = (path: string, options = {}) => askHost(machine.https, name, path, options);

/** Resident memory of nginx's workers, in bytes. */
async function nginxMemory(): Promise<number> {
  const master = await machine.pid();
  const children = (await readFile(`/proc/${master}/task/${master}/children`, 'utf8')).trim().split(' ');
  const status = await Promise.all(children.map((pid) => readFile(`/proc/${pid}/status`, 'utf8')));
  return status.reduce((sum, text) => sum + Number(/VmRSS:\s+(\d+) kB/.exec(text)?.[1]) * 1024, 0);
}

test('no forwarding header of a client reaches the app', async () => {
  const forged = {
    'x-forwarded-for': '6.6.6.6, 7.7.7.7',
    'x-forwarded-proto': 'http',
    'x-forwarded-host': 'evil.example.com',
    'x-forwarded-port': '1',
    'x-real-ip': '6.6.6.6',
    'x-client-ip': '6.6.6.6',
    forwarded: 'for=6.6.6.6;proto=http;host=evil.example.com',
    'x-forwarded-prefix': '/evil',
    'x-forwarded-server': 'evil',
    'x-forwarded-ssl': 'off',
    x_forwarded_for: '6.6.6.6',
    proxy: 'http://evil.example.com',
    'x-own': 'kept',
  };
  const headers = JSON.parse((await ask('/headers', { headers: forged })).body);
  const { connection: _, accept: __, ...got } = headers;
  assert.deepEqual(got, {
    host: name,
    'x-forwarded-for': '127.0.0.1',
    'x-forwarded-proto': 'https',
    'x-forwarded-host': name,
    'x-forwarded-port': String(machine.https),
    'x-real-ip': '127.0.0.1',
    'x-own': 'kept',
  });
});

test('the host in the request target does not change the app', async () => {
  const socket = await secureConnection(machine.https, name);
  socket.write(`GET https://${name}/headers HTTP/1.1\r\nHost: evil.example.com\r\nConnection: close\r\n\r\n`);
  let answer = '';
  for await (const chunk of socket) answer += chunk;
  assert.match(answer, new RegExp(`"host":"${name}"`));
  assert.ok(!answer.includes('evil'));
});

test('path and answer pass through unchanged', async () => {
  const path = '/url?a=%2F..%2f&b=/../c//d';
  assert.equal((await ask(path)).body, path);
  const html = await ask('/html', { headers: { 'accept-encoding': 'gzip' } });
  assert.equal(html.headers['content-encoding'], undefined);
  const error = await ask('/error');
  assert.deepEqual([error.status, error.body], [503, 'own words']);
  assert.equal((await ask('/redirect')).headers.location, 'http://127.0.0.1/there');
});

test('nginx serves many requests at a time on one HTTP/2 connection', async () => {
  const session = connectHttp2(`https://127.0.0.1:${machine.https}`, {
    servername: name,
    rejectUnauthorized: false,
  });
  const one = async () => {
    const stream = session.request({ ':path': '/', ':authority': name });
    let body = '';
    for await (const chunk of stream) body += chunk;
    return body;
  };
  const bodies = await Promise.all(Array.from({ length: 50 }, one));
  assert.deepEqual(new Set(bodies), new Set(['the shop']));
  await new Promise<void>((resolve) => session.close(resolve));
});

test('connections to the app are reused, by other clients too', async () => {
  const ports = new Set<string>();
  for (let n = 0; n < 20; n++) ports.add((await ask('/socket')).body);
  // Each of nginx's two workers has connections of its own, and new ones after 4 idle seconds.
  assert.ok(ports.size < 10, `${ports.size} connections for 20 requests`);
});

test('a request is sent to the app once, even if it fails', async () => {
  for (const method of ['POST', 'GET', 'PUT']) {
    const before = Number((await ask('/posts')).body);
    assert.equal((await ask('/die', { method, body: method === 'GET' ? undefined : 'x' })).status, 502);
    assert.equal(Number((await ask('/posts')).body), before + 1, method);
  }
});

test('nginx answers 503 with Retry-After for an app that is stopped or has crashed, and the app keeps its port', async () => {
  const broken = join(sluice.home, 'broken');
  await sluice.deploy('down', {
    'server.js': `const fs = require('node:fs');
    if (fs.existsSync(${JSON.stringify(broken)})) process.exit(1);
    require('node:http').createServer((request, response) => {
      if (request.url === '/crash') {
        fs.writeFileSync(${JSON.stringify(broken)}, '');
        process.exit(1);
      }
      response.end('up');
    }).listen(process.env.PORT);`,
    'sluice.json': { workers: 1, maxRestarts: 1, minUptime: 60_000, settleTime: 100 },
  });
  const host = 'down.example.com';
  await sluice.call('POST', '/v1/domains', { name: host, app: 'down', certificate: 'self-signed' });
  const askDown = async (path = '/') => {
    const { status, headers } = await askHost(machine.https, host, path);
    return [status, headers['retry-after']];
  };
  assert.deepEqual(await askDown(), [200, undefined]);
  assert.deepEqual(await askDown('/crash'), [502, undefined], 'it has taken the request');
  await waitFor(async () => (await sluice.status('down')).state === 'crashed', { what: 'a crash' });
  assert.deepEqual(await askDown(), [503, '10']);
  await sluice.call('POST', '/v1/apps/down/stop');
  assert.deepEqual(await askDown(), [503, '10']);
  await rm(broken);
  await sluice.call('POST', '/v1/apps/down/start');
  assert.deepEqual(await askDown(), [200, undefined]);
});

test('the port of a removed app is held until nginx no longer sends requests there (thorough)', async () => {
  const host = 'gone.example.com';
  await sluice.deploy('gone', answering('gone'));
  const { port } = await sluice.status('gone');
  await sluice.call('POST', '/v1/domains', { name: host, app: 'gone', certificate: 'self-signed' });
  const isFree = async () => {
    const server = createServer();
    const listens = once(server.listen({ port, host: '127.0.0.1', exclusive: true }), 'listening');
    const free = await listens.then(
      () => true,
      () => false,
    );
    server.close();
    return free;
  };
  machine.stopServing();
  await sluice.call('DELETE', '/v1/apps/gone?confirm=gone');
  assert.equal((await askHost(machine.https, host)).status, 503, 'nginx does not know yet');
  assert.equal(await isFree(), false);
  await machine.serve(sluice.home);
  await machine.apply(sluice.home);
  await waitFor(isFree, { what: 'a free port' });
  await assert.rejects(askHost(machine.https, host));
});

test('a websocket carries messages both ways', async () => {
  const socket = new WebSocket(`wss://127.0.0.1:${machine.https}/ws`, {
    ...{ servername: name, headers: { host: name }, rejectUnauthorized: false },
  });
  await once(socket, 'open');
  for (const text of ['one', 'two', 'three']) {
    socket.send(text);
    assert.equal(String((await once(socket, 'message'))[0]), text);
  }
  socket.close();
  await once(socket, 'close');
});

test('an event arrives when it is sent, without a special header of the app', async () => {
  const asked = request({
    ...{ host: '127.0.0.1', port: machine.https, servername: name, rejectUnauthorized: false, agent: false },
    ...{ path: '/events', headers: { host: name } },
  }).end();
  const [response] = await once(asked, 'response');
  let got = '';
  response.setEncoding('utf8').on('data', (text: string) => {
    got += text;
  });
  // Each event is sent after the one before has arrived, so a buffered event would never arrive.
  for (let number = 0; number < 6; number++) {
    if (number > 0) await ask(`/event?number=${number}`);
    await waitFor(() => got.endsWith(`data: ${number}\n\n`), { what: `event ${number}` });
  }
  asked.destroy();
});

test('an upload of a gigabyte reaches the app as it arrives, and is stored nowhere else (thorough)', async () => {
  const before = await nginxMemory();
  const asked = request({
    ...{ host: '127.0.0.1', port: machine.https, servername: name, rejectUnauthorized: false, agent: false },
    ...{ path: '/upload', method: 'POST', headers: { host: name } },
  });
  const answer = once(asked, 'response');
  const chunk = Buffer.alloc(1024 ** 2);
  let most = 0;
  for (let sent = 1; sent <= 1024; sent++) {
    if (!asked.write(chunk)) await once(asked, 'drain');
    if (sent % 256 !== 0) continue;
    most = Math.max(most, await nginxMemory());
    // Only the buffers of a few sockets lie between.
    const inApp = Number((await ask('/received')).body);
    assert.ok(sent * 1024 ** 2 - inApp < 32 * 1024 ** 2, `${inApp} bytes of ${sent} MiB`);
  }
  asked.end();
  const [response] = await answer;
  let body = '';
  for await (const part of response) body += part;
  assert.equal(body, String(1024 ** 3));
  assert.ok(most - before < 16 * 1024 ** 2, `nginx grew by ${most - before} bytes`);
  assert.ok(Number((await ask('/memory')).body) < 250 * 1024 ** 2);
});

test('a slow client fills neither the memory of nginx nor its disk (thorough)', async () => {
  const before = await nginxMemory();
  const socket = await secureConnection(machine.https, name);
  socket.write(`GET /large HTTP/1.1\r\nHost: ${name}\r\nConnection: close\r\n\r\n`);
  await once(socket, 'readable');
  socket.pause();
  // nginx answers other clients meanwhile.
  for (let n = 0; n < 50; n++) assert.equal((await ask('/')).body, 'the shop');
  assert.ok((await nginxMemory()) - before < 16 * 1024 ** 2);
  const { stdout } = spawn('du', ['-s', '-B1', `${machine.directory}/proxy`]);
  const [size] = String((await once(stdout, 'data'))[0]).split('\t');
  assert.ok(Number(size) < 1024 ** 2);
  let received = 0;
  for await (const chunk of socket) received += chunk.length;
  assert.ok(received > 100 * 1024 ** 2);
});

test('a client that does not finish its request head is disconnected (thorough)', async () => {
  const socket = await secureConnection(machine.https, name);
  // nginx resets the connection, so that it keeps no state.
  socket.on('error', () => undefined);
  const closed = new Promise((resolve) => socket.once('close', resolve));
  const begun = performance.now();
  socket.write('GET / HTTP/1.1\r\n');
  const timer = setInterval(() => socket.writable && socket.write('X-A: b\r\n'), 1000);
  socket.resume();
  await closed;
  clearInterval(timer);
  const took = performance.now() - begun;
  assert.ok(took > 10_000 && took < 25_000, `${took} ms`);
});

test('deploys lose no request through nginx, on reused connections, POST included', async () => {
  let isOver = false;
  const statuses = new Map<string, number>();
  const client = async (method: string) => {
    while (!isOver) {
      const { status } = await ask('/upload', { method, ...(method === 'POST' && { body: 'x' }) });
      statuses.set(`${method} ${status}`, (statuses.get(`${method} ${status}`) ?? 0) + 1);
    }
  };
  const clients = ['POST', 'POST', 'GET', 'GET'].map(client);
  for (let n = 0; n < 5; n++) await sluice.deploy('shop', running(app, { drainTimeout: '2s' }));
  isOver = true;
  await Promise.all(clients);
  assert.deepEqual([...statuses.keys()].sort(), ['GET 200', 'POST 200']);
});

test('the app on its own port does not depend on nginx', async () => {
  const { port } = await sluice.status('shop');
  const open = connect(port, '127.0.0.1');
  open.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  await once(open, 'data');
  await machine.stop();
  assert.equal((await fetchText(port)).body, 'the shop');
  assert.equal((await sluice.deploy('shop', running(app))).state, 'live');
  await machine.nginx();
  const back = () =>
    ask('/').then(
      ({ body }) => body === 'the shop',
      () => false,
    );
  await waitFor(back, { what: 'nginx' });
  open.destroy();
});
