import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import type { DomainView } from '../../src/edge/domain.ts';
import { retryAfter } from '../../src/edge/orders.ts';
import { exists } from '../../src/system/fs/exists.ts';
import { answering } from '../support/apps.ts';
import { cli } from '../support/cli.ts';
import { machineWithNginx } from '../support/nginx.ts';
import { type Pebble, startPebble } from '../support/pebble.ts';
import { type Sluice, startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';
import { wholeFile } from '../support/whole-file.ts';

const machine = await machineWithNginx(wholeFile);

const add = (sluice: Sluice, name: string) =>
  sluice.call<DomainView>('POST', '/v1/domains', { name, app: 'shop' });
const certificate = async (sluice: Sluice, name: string) =>
  (await sluice.call<DomainView>('GET', `/v1/domains/${name}`)).certificate;

async function until(
  sluice: Sluice,
  name: string,
  isSo: (found: DomainView['certificate']) => boolean,
  what: string,
) {
  const settled = async () => {
    const found = await certificate(sluice, name);
    return isSo(found) && found;
  };
  return waitFor(settled, { what });
}

/** Starts a server for which nginx serves domains until the end of the test. */
async function sluiceBehind(t: TestContext, pebble: Pebble, acme: object = {}): Promise<Sluice> {
  const own = { ...pebble.settings, httpPort: machine.http, retryDelay: '1h', ...acme };
  const sluice = await startSluice(t, { settings: { acme: own } });
  t.after(() => machine.stopServing());
  await machine.serve(sluice.home);
  await sluice.deploy('shop', answering('the shop'));
  return sluice;
}

test('a certificate is renewed when a third of its lifetime is left (thorough)', async (t) => {
  const pebble = await startPebble(t, { httpPort: machine.http, validity: 30 });
  const sluice = await sluiceBehind(t, pebble, { schedule: '* * * * * *' });
  await add(sluice, 'short.example.com');
  const first = await until(sluice, 'short.example.com', ({ state }) => state === 'valid', 'the first');
  const second = await until(
    sluice,
    'short.example.com',
    ({ expiresAt }) => expiresAt !== first.expiresAt,
    'the second',
  );
  assert.equal(second.state, 'valid');
  const lateness = Date.parse(second.validFrom ?? '') - Date.parse(first.renewAt ?? '');
  // A certificate is due 10 s before it expires.
  assert.ok(lateness > -2000 && lateness < 10_000, `renewed ${lateness} ms after it was due`);
  assert.equal(pebble.orders, 2);
  const applied = async () => (await machine.outcome(sluice.home)).error === null;
  await waitFor(applied, { what: 'nginx' });
});

test('a refused order is reported, and tried again after longer and longer delays, across restarts (thorough)', async (t) => {
  // The authority asks a closed port here, while our own check of the name succeeds.
  const pebble = await startPebble(t, { httpPort: 1 });
  const sluice = await sluiceBehind(t, pebble, { schedule: '* * * * * *', retryDelay: '1s' });
  await add(sluice, 'refused.example.com');
  const failed = ({ error, progress }: DomainView['certificate']) => error !== null && progress === null;
  const { error } = await until(sluice, 'refused.example.com', failed, 'a failure');
  assert.equal(error?.code, 'order_failed');
  assert.match(error?.message ?? '', /refused/);
  const orders = async () =>
    JSON.parse(await readFile(sluice.paths.edge.orders, 'utf8'))['refused.example.com'];
  await waitFor(async () => (await orders()).failures >= 3, { what: 'three failures' });
  // An order counts as failed when it begins.
  await until(sluice, 'refused.example.com', failed, 'the third failure');
  const doctor = JSON.parse((await cli(['doctor', '--json'], { env: { SLUICE_HOME: sluice.home } })).stdout);
  assert.match(JSON.stringify(doctor.checks), /refused\.example\.com has no certificate/);

  await sluice.stop();
  const record = await orders();
  const nextTry = new Date(Date.now() + 3_600_000).toISOString();
  const all = { 'refused.example.com': { ...record, nextTry } };
  await writeFile(sluice.paths.edge.orders, JSON.stringify(all));
  // The stop may have cut off a fourth order, which would be continued at once.
  await rm(sluice.paths.edge.openOrder('refused.example.com'), { force: true });
  const before = pebble.orders;
  for (let start = 0; start < 3; start++) {
    await sluice.up();
    await until(sluice, 'refused.example.com', ({ progress }) => progress === null, 'rest');
    // Adding the domain again does not make another order either.
    await add(sluice, 'refused.example.com');
    assert.equal((await certificate(sluice, 'refused.example.com')).nextTry, nextTry);
    await sluice.stop();
  }
  assert.equal(pebble.orders, before);
});

test('a server that is killed during an order continues it, and makes no second one (thorough)', async (t) => {
  const gate = await heldBack(t, machine.http);
  const pebble = await startPebble(t, {
    httpPort: gate.port,
    env: { PEBBLE_VA_NOSLEEP: '0', PEBBLE_VA_SLEEPTIME: '6' },
  });
  const sluice = await sluiceBehind(t, pebble);
  await add(sluice, 'killed.example.com');
  const { edge } = sluice.paths;
  const orders = async () =>
    (await sluice.log()).filter(({ msg }) => msg === 'order').map(({ isNew }) => isNew);
  await waitFor(async () => (await orders()).length > 0, { what: 'an order' });
  await sluice.kill();
  gate.goOn();
  // The other kills come at any step: the authority waits for up to 5 s before its check.
  for (let kill = 0; kill < 2; kill++) {
    await sluice.up();
    await sluice.kill();
  }
  await sluice.up();
  const issued = ({ state, progress }: DomainView['certificate']) => state === 'valid' && progress === null;
  await until(sluice, 'killed.example.com', issued, 'a certificate');
  assert.equal(pebble.orders, 1);
  assert.equal(await exists(edge.openOrder('killed.example.com')), false);
  assert.equal((await orders()).filter((isNew) => isNew).length, 1);
  assert.ok((await orders()).length >= 2);
});

/** Opens a port that forwards to another one. Connections wait until `goOn` is called. */
async function heldBack(t: TestContext, to: number): Promise<{ port: number; goOn: () => void }> {
  const { promise: isOpen, resolve: goOn } = Promise.withResolvers<void>();
  const server = createServer(async (socket) => {
    socket.on('error', () => undefined);
    await isOpen;
    const there = connect(to, '127.0.0.1');
    there.on('error', () => socket.destroy());
    socket.pipe(there).pipe(socket);
  }).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  return { port: (server.address() as AddressInfo).port, goOn };
}

test('an unreachable authority is reported (thorough)', async (t) => {
  const pebble = await startPebble(t, { httpPort: machine.http });
  const sluice = await sluiceBehind(t, pebble, { directory: 'https://127.0.0.1:1/dir' });
  await add(sluice, 'alone.example.com');
  const failed = ({ error, progress }: DomainView['certificate']) => error !== null && progress === null;
  const { error } = await until(sluice, 'alone.example.com', failed, 'a failure');
  assert.match(error?.message ?? '', /^the ACME server cannot be reached: .*ECONNREFUSED/);
  assert.equal(pebble.orders, 0);
});

test('each failure doubles the delay, up to a day', () => {
  const retryDelay = 600_000;
  const waits = [1, 2, 3, 8, 20].map((failures) =>
    retryAfter(failures, 'order_failed', { retryDelay, random: 0 }),
  );
  assert.deepEqual(waits, [600_000, 1_200_000, 2_400_000, 76_800_000, 86_400_000]);
  assert.equal(retryAfter(1, 'order_failed', { retryDelay, random: 1 }), 750_000);
  assert.equal(retryAfter(1, 'order_failed', { retryDelay, random: 0, atLeast: 7_200_000 }), 7_200_000);
  const unreachable = [1, 2, 20].map((failures) =>
    retryAfter(failures, 'domain_unreachable', { retryDelay, random: 0 }),
  );
  assert.deepEqual(unreachable, [60_000, 120_000, 3_600_000]);
});
