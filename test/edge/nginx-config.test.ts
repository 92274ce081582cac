import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { apiSocket } from '../../src/config/installed.ts';
import { Paths } from '../../src/config/paths.ts';
import { Certificates } from '../../src/edge/certificates.ts';
import type { DesiredHost } from '../../src/edge/desired.ts';
import type { Listening } from '../../src/edge/listening.ts';
import { nginxConfig } from '../../src/edge/nginx-config.ts';
import { freePort } from '../support/free-port.ts';
import { machineWithNginx } from '../support/nginx.ts';
import { temporaryDirectory } from '../support/temporary.ts';

test('the configuration suits each nginx: 1.18 of Ubuntu 22.04, 1.22 and 1.26 of Debian', async (t) => {
  const machine = await machineWithNginx(t);
  const paths = new Paths(await temporaryDirectory(t));
  await mkdir(paths.edge.certificates, { recursive: true });
  const names = ['shop.example.com', 'blog.example.com'];
  const hosts: DesiredHost[] = [];
  for (const [index, name] of names.entries()) {
    const { fingerprint } = await new Certificates(paths.edge).selfSign(name);
    hosts.push({ name, address: index === 0 ? '127.0.0.1' : '::1', port: 9001, certificate: fingerprint });
  }
  const text = async (version: string, ipv6 = true) =>
    nginxConfig(hosts, {
      ...{ version, apiSocket, listening: listeningOn(ipv6), challenges: paths.edge.challenges },
      ports: { http: await freePort(), https: await freePort() },
      certificateOf: ({ name }) => paths.edge.certificate(name),
    }).texts.main ?? '';

  const old = await text('1.18.0');
  assert.match(old, /listen \d+ ssl http2;/);
  assert.ok(!old.includes('ssl_reject_handshake') && !old.includes('http2 on'));
  const middle = await text('1.22.1');
  assert.match(middle, /listen \[::\]:\d+ ssl http2;/);
  assert.match(middle, /ssl_reject_handshake on;/);
  const new_ = await text('1.26.3');
  assert.match(new_, /listen \d+ ssl;\n.*\n +http2 on;/);
  assert.ok(!(await text('1.22.1', false)).includes('[::]:'), 'a kernel without IPv6 has no such address');

  // A newer nginx also accepts the directives of older ones.
  const { stderr } = await promisify(execFile)('nginx', ['-v']);
  const knowsNew = Number(/1\.(\d+)/.exec(stderr)?.[1]) >= 25;
  for (const config of [old, middle, ...(knowsNew ? [new_] : [])]) {
    await writeFile(join(machine.directory, 'conf.d/sluice.conf'), config);
    await machine.nginx('-t');
  }
});

test('each configuration has a mark of its own', () => {
  const facts = {
    ...{
      version: '1.22.1',
      apiSocket,
      listening: listeningOn(false),
      challenges: '/c',
      ports: { http: 80, https: 443 },
    },
    certificateOf: () => '/x.pem',
  };
  const host = { name: 'shop.example.com', address: '127.0.0.1', port: 9001, certificate: '0'.repeat(64) };
  const marks = [[], [host], [{ ...host, port: 9002 }]].map((hosts) => nginxConfig(hosts, facts).mark);
  assert.equal(new Set(marks).size, 3);
  assert.equal(nginxConfig([host], facts).mark, marks[1]);
});

test('nginx connects to an app with affinity from an address of the client, and keeps no connection', async (t) => {
  const machine = await machineWithNginx(t);
  const paths = new Paths(await temporaryDirectory(t));
  await mkdir(paths.edge.certificates, { recursive: true });
  const config = async (address: string) => {
    const { fingerprint } = await new Certificates(paths.edge).selfSign('shop.example.com');
    const common = { name: 'shop.example.com', port: 9001, certificate: fingerprint };
    const { texts } = nginxConfig([{ ...common, address, affinity: 'client' }], {
      ...{ version: '1.22.1', apiSocket, listening: listeningOn(false), challenges: paths.edge.challenges },
      ports: { http: await freePort(), https: await freePort() },
      certificateOf: ({ name }) => paths.edge.certificate(name),
    });
    return texts.main ?? '';
  };
  const text = await config('127.0.0.1');
  assert.match(text, /proxy_bind \$sluice_client;/);
  assert.ok(!/keepalive/.test(text));
  assert.equal(new Set(text.match(/127\.83\.76\.\d+/g)).size, 64);
  await writeFile(join(machine.directory, 'conf.d/sluice.conf'), text);
  await machine.nginx('-t');
  // IPv6 has one loopback address: all clients behind nginx have one worker.
  assert.ok(!(await config('::1')).includes('proxy_bind'));
});

function listeningOn(ipv6: boolean): Listening {
  const listenOn = (address: string) => ({ address, isShared: false, http2: true });
  const addresses = [listenOn('0.0.0.0'), ...(ipv6 ? [listenOn('::')] : [])];
  return { http: addresses, https: addresses };
}
