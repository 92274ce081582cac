import assert from 'node:assert/strict';
import { readdir, readFile, stat } from 'node:fs/promises';
import { test } from 'node:test';
import { connect } from 'node:tls';
import type { DomainView } from '../../src/edge/domain.ts';
import { answering } from '../support/apps.ts';
import { cli } from '../support/cli.ts';
import { askHost } from '../support/https.ts';
import { machineWithNginx } from '../support/nginx.ts';
import { startPebble } from '../support/pebble.ts';
import { type Sluice, startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';
import { wholeFile } from '../support/whole-file.ts';

const machine = await machineWithNginx(wholeFile);
const pebble = await startPebble(wholeFile, { httpPort: machine.http });
const acme = { ...pebble.settings, httpPort: machine.http, retryDelay: '1h' };
const sluice = await startSluice(wholeFile, { settings: { acme } });
await machine.serve(sluice.home);
await sluice.deploy('shop', answering('the shop'));

const add = (name: string, to = sluice) => to.call<DomainView>('POST', '/v1/domains', { name, app: 'shop' });
const get = (name: string, of = sluice) => of.call<DomainView>('GET', `/v1/domains/${name}`);
const remove = (name: string) => sluice.call('DELETE', `/v1/domains/${name}`);

async function until(name: string, state: string, of: Sluice = sluice): Promise<DomainView> {
  const settled = async () => {
    const domain = await get(name, of);
    return domain.certificate.state === state && domain.certificate.progress === null && domain;
  };
  return waitFor(settled, { what: `${name} ${state}` });
}

/** Connects as a client that trusts the authority. @returns the protocol and the names of the certificate */
function asBrowser(port: number, name: string, ca: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, servername: name, ca, ALPNProtocols: ['h2'] }, () => {
      resolve(`${socket.alpnProtocol} ${socket.getPeerCertificate().subjectaltname}`);
      socket.destroy();
    });
    socket.once('error', reject);
  });
}

test('a host answers at once, and soon has a certificate of the authority', async () => {
  const added = await add('shop.example.com');
  assert.match(added.certificate.state, /^(?:waiting|ordering)$/);
  assert.equal((await askHost(machine.https, 'shop.example.com')).body, 'the shop');
  const { certificate } = await until('shop.example.com', 'valid');
  assert.match(certificate.issuer ?? '', /Pebble/);
  assert.equal(certificate.error, null);
  const lifetime = Date.parse(certificate.expiresAt ?? '') - Date.parse(certificate.validFrom ?? '');
  const left = Date.parse(certificate.expiresAt ?? '') - Date.parse(certificate.renewAt ?? '');
  assert.ok(Math.abs(left - lifetime / 3) < 2000);
  const root = await pebble.root();
  const seen = () => asBrowser(machine.https, 'shop.example.com', root).catch(() => undefined);
  assert.equal(await waitFor(seen, { what: 'the certificate' }), 'h2 DNS:shop.example.com');
  assert.equal((await askHost(machine.https, 'shop.example.com')).body, 'the shop');
});

test('secret files are private, and no challenge remains', async () => {
  await add('shop.example.com');
  await until('shop.example.com', 'valid');
  const { edge } = sluice.paths;
  for (const path of [edge.account, edge.certificate('shop.example.com'), edge.orders, edge.desired]) {
    assert.equal((await stat(path)).mode & 0o777, 0o600, path);
  }
  assert.deepEqual(await readdir(edge.challenges), []);
  assert.deepEqual(await readdir(edge.openOrders), []);
  assert.match(await readFile(edge.account, 'utf8'), /PRIVATE KEY/);
});

test('a domain that is added again gets its earlier certificate without an order (thorough)', async () => {
  await add('shop.example.com');
  await until('shop.example.com', 'valid');
  const before = pebble.orders;
  await remove('shop.example.com');
  const added = await add('shop.example.com');
  assert.equal(added.certificate.state, 'valid');
  assert.match(await asBrowser(machine.https, 'shop.example.com', await pebble.root()), /^h2/);
  assert.equal(pebble.orders, before);
});

test('domains that are added together get their certificates from one account (thorough)', async () => {
  const names = ['a.example.com', 'b.example.com', 'c.example.com'];
  const before = pebble.orders;
  await Promise.all(names.map((name) => add(name)));
  for (const name of names) await until(name, 'valid');
  assert.equal(pebble.orders, before + 3);
  assert.equal(JSON.parse(await readFile(sluice.paths.edge.account, 'utf8')).length, 1);
});

test('a name without an address is reported before an order, and tried again (thorough)', async () => {
  const before = pebble.orders;
  await pebble.dns('set-servfail', { host: 'gone.example.com' });
  await add('gone.example.com');
  const { certificate } = await until('gone.example.com', 'failed');
  assert.equal(certificate.error?.code, 'domain_unreachable');
  assert.match(certificate.error?.message ?? '', /^gone\.example\.com does not resolve: .*ESERVFAIL$/);
  const delay = Date.parse(certificate.nextTry ?? '') - Date.parse(certificate.error?.at ?? '');
  assert.ok(
    delay >= 360_000 && delay <= 450_100,
    `a tenth of retryDelay, and up to a quarter more: ${delay}`,
  );
  assert.equal(pebble.orders, before);
  assert.equal(
    (await askHost(machine.https, 'gone.example.com')).body,
    'the shop',
    'it is served all the same',
  );

  await pebble.dns('clear-servfail', { host: 'gone.example.com' });
  await add('gone.example.com');
  await until('gone.example.com', 'valid');
  assert.equal(pebble.orders, before + 1, 'a corrected DNS record needs no wait');
});

test('a name of another machine is reported with the answer of that machine (thorough)', async () => {
  // The authority would reach our API here, not our nginx.
  const before = pebble.orders;
  const own = await startSluice(wholeFile, {
    settings: { acme: { ...acme, httpPort: Number(new URL(sluice.url).port) } },
  });
  const elsewhere = await machineWithNginx(wholeFile);
  await elsewhere.serve(own.home);
  await own.deploy('shop', answering('the shop'));
  await add('other.example.com', own);
  const { certificate } = await until('other.example.com', 'failed', own);
  assert.match(
    certificate.error?.message ?? '',
    /^other\.example\.com does not resolve to this server: 127\.0\.0\.1 answers on port \d+ with 401, and is another machine or another program$/,
  );
  const env = { SLUICE_HOME: own.home };
  const outcome = await cli(['domains', 'add', 'shop', 'other.example.com'], { env });
  assert.equal(outcome.code, 1);
  assert.match(outcome.stderr, /failed: other\.example\.com does not resolve to this server/);
  const doctor = JSON.parse((await cli(['doctor', '--json'], { env })).stdout);
  const check = doctor.checks.find(({ name }: { name: string }) => name === 'domains');
  assert.match(
    check.message,
    /^other\.example\.com has no certificate: other\.example\.com does not resolve to this server/,
  );
  assert.equal(check.state, 'fault');
  assert.equal(pebble.orders, before);
});
