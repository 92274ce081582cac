import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import type { AddedDomain } from '../../src/edge/domain.ts';
import { answering, running } from '../support/apps.ts';
import { cli } from '../support/cli.ts';
import { askHost } from '../support/https.ts';
import { machineWithNginx } from '../support/nginx.ts';
import { startSluice } from '../support/server.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { thorough } from '../support/tiers.ts';
import { wholeFile } from '../support/whole-file.ts';

const directory = await temporaryDirectory(wholeFile);
const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')];
await promisify(execFile)('openssl', [
  ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
  ...['-subj', '/CN=localhost', '-keyout', key, '-out', cert],
]);
const pem = { 'key.pem': await readFile(key, 'utf8'), 'cert.pem': await readFile(cert, 'utf8') };

/** Returns an app that listens with the server to which the code `server` evaluates. */
const serving = (server: string) => ({
  ...running(`
    const { readFileSync } = require('node:fs');
    const pem = { key: readFileSync('key.pem'), cert: readFileSync('cert.pem') };
    const http = require('node:http').createServer((request, response) => response.end('ok'));
    const feed = (socket) => http.emit('connection', socket);
    (${server}).listen(process.env.PORT);
  `),
  ...pem,
});

const answer = "(request, response) => response.end('ok')";
const secure = serving(`require('node:https').createServer(pem, ${answer})`);
const plain = answering('ok');

for (const [scheme, what, app] of [
  ['http', 'HTTP', plain],
  ['https', 'HTTPS', secure],
  ['http', 'HTTP/2', serving(`require('node:http2').createServer(${answer})`)],
  ['https', 'HTTP/2 over TLS', serving(`require('node:http2').createSecureServer(pem, ${answer})`)],
  [
    'tcp',
    'a protocol of its own',
    serving("require('node:net').createServer((socket) => socket.resume().end('hi'))"),
  ],
  [
    'tls',
    'a protocol of its own over TLS',
    serving("require('node:tls').createServer(pem, (socket) => socket.resume().end('hi'))"),
  ],
  ['http', 'HTTP on raw connections', serving("require('node:net').createServer(feed)")],
  ['https', 'HTTP on raw connections of TLS', serving("require('node:tls').createServer(pem, feed)")],
] as const) {
  test(`the URL of an app that speaks ${what} begins with ${scheme}://${thorough(what !== 'HTTPS' && scheme !== 'tcp')}`, async (t) => {
    const sluice = await startSluice(t);
    const deployed = await sluice.deploy('shop', app);
    const { port, url } = await sluice.status('shop');
    assert.equal(url, `${scheme}://127.0.0.1:${port}`);
    assert.equal(deployed.url, url);
    const env = { SLUICE_HOME: sluice.home };
    for (const args of [['apps'], ['status', 'shop']]) {
      assert.ok((await cli(args, { env })).stdout.includes(url), args.join(' '));
    }
  });
}

test('the URL follows the live release, even if an older record names no protocol', async (t) => {
  const sluice = await startSluice(t);
  const scheme = async () => new URL((await sluice.status('shop')).url).protocol;
  await sluice.deploy('shop', secure);
  await sluice.deploy('shop', plain);
  assert.equal(await scheme(), 'http:');
  assert.match((await sluice.rollback('shop')).url, /^https:/);
  assert.equal(await scheme(), 'https:');

  const { record } = sluice.paths.environment({ app: 'shop', environment: 'production' }).release(1);
  const { protocol, ...older } = JSON.parse(await readFile(record, 'utf8'));
  assert.equal(protocol, 'https');
  await sluice.stop();
  await writeFile(record, JSON.stringify(older));
  await sluice.up();
  await sluice.untilRunning('shop');
  assert.equal(await scheme(), 'https:', 'the runner finds the protocol when it starts the app');
});

test('a deploy and a new domain warn if an app behind nginx does not speak plain HTTP (thorough)', async (t) => {
  const machine = await machineWithNginx(t);
  const sluice = await startSluice(t);
  await machine.serve(sluice.home);
  await sluice.deploy('shop', plain);
  const name = 'shop.example.com';
  await sluice.call('POST', '/v1/domains', { name, app: 'shop', certificate: 'self-signed' });
  const { notices, url } = await sluice.deploy('shop', secure);
  assert.equal(url, `https://${name}`);
  const notice = notices.find(({ code }) => code === 'not_plain_http');
  assert.match(
    notice?.message ?? '',
    /^The app speaks HTTPS on its port, .*: https:\/\/shop\.example\.com answers 502\.$/,
  );
  assert.match(notice?.hint ?? '', /node:http.*sluice domains remove shop\.example\.com/);
  assert.equal((await askHost(machine.https, name)).status, 502, 'nginx answers as the note says');
  const add = ['domains', 'add', 'shop', 'www.example.com', '--self-signed'];
  const added = await cli([...add, '--json'], { env: { SLUICE_HOME: sluice.home } });
  const [atOnce] = JSON.parse(added.stdout).notices;
  assert.match(
    atOnce.message,
    /^The app speaks HTTPS on its port, .*: https:\/\/www\.example\.com answers 502\.$/,
  );
  assert.match(
    (await cli(add, { env: { SLUICE_HOME: sluice.home } })).stdout,
    /^note: The app speaks HTTPS.*\n {3}Let the app/m,
  );

  const { generation } = sluice.paths.environment({ app: 'shop', environment: 'production' });
  const active = await readFile(generation);
  await writeFile(generation, '{}');
  const domain = { name: 'new.example.com', app: 'shop', certificate: 'self-signed' };
  const { notices: unknown } = await sluice.call<AddedDomain>('POST', '/v1/domains', domain);
  assert.deepEqual(unknown, [], 'the domain is added, though nothing is known of the live release');
  await writeFile(generation, active);

  const { notices: none } = await sluice.deploy('shop', plain);
  assert.deepEqual(none, []);
  assert.doesNotMatch((await cli(add, { env: { SLUICE_HOME: sluice.home } })).stdout, /note:/);
  assert.equal((await askHost(machine.https, name)).body, 'ok');
});
