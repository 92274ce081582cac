import assert from 'node:assert/strict';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { type TestContext, test } from 'node:test';
import { saveEnvironmentState } from '../../src/config/environment-state.ts';
import { Paths } from '../../src/config/paths.ts';
import { serverSettingsSchema } from '../../src/config/server-settings.ts';
import { parseSettings } from '../../src/config/settings-file.ts';
import type { Applied, Desired } from '../../src/edge/desired.ts';
import { Edge } from '../../src/edge/edge.ts';
import { createLog } from '../../src/system/log/log.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

const shop = { app: 'shop', environment: 'production' };

/** Fake of `sluice-edge.service`: answers each desired configuration, unless the test holds the answers. */
class Applier {
  /** desired configurations that were answered */
  readonly answered: Desired[] = [];
  /** host name that nginx refuses */
  refused: string | undefined;
  readonly #paths: Paths;
  #isHeld = false;
  #timer: NodeJS.Timeout;
  #answering = Promise.resolve();

  constructor(t: TestContext, paths: Paths) {
    this.#paths = paths;
    this.#timer = this.#answerSoon();
    t.after(() => clearTimeout(this.#timer));
  }

  /** Holds the answers. Fulfilled when none is under way. */
  hold(): Promise<void> {
    this.#isHeld = true;
    return this.#answering;
  }

  release(): void {
    this.#isHeld = false;
  }

  async wanted(): Promise<Desired | undefined> {
    const text = await readFile(this.#paths.edge.desired, 'utf8').catch(() => undefined);
    return text === undefined ? undefined : (JSON.parse(text) as Desired);
  }

  async #answer(): Promise<void> {
    const wanted = this.#isHeld ? undefined : await this.wanted();
    if (wanted !== undefined && wanted.revision !== this.answered.at(-1)?.revision) {
      const isRefused = wanted.hosts.some(({ name }) => name === this.refused);
      const error = isRefused ? { message: `nginx refuses ${this.refused}`, hint: '' } : null;
      const applied: Applied = { revision: wanted.revision, at: new Date().toISOString(), error };
      this.answered.push(wanted);
      await writeFile(this.#paths.edge.applied, JSON.stringify(applied));
    }
    this.#timer = this.#answerSoon();
  }

  #answerSoon(): NodeJS.Timeout {
    return setTimeout(() => {
      this.#answering = this.#answer();
    }, 10);
  }
}

async function edgeOf(t: TestContext) {
  const paths = new Paths(await temporaryDirectory(t));
  const settings = parseSettings(serverSettingsSchema, {}, 'config.json');
  const log = createLog(process.stderr.fd, 'server', 'error');
  await mkdir(paths.environment(shop).directory, { recursive: true });
  await saveEnvironmentState(paths.environment(shop).state, {
    ...{ port: 9001, desired: 'running', desiredSince: null, workers: null, rebuild: null },
    createdAt: new Date().toISOString(),
  });
  const open = async () => {
    const edge = new Edge({ paths, settings, log, applyDeadline: 100_000 });
    await edge.load();
    t.after(() => edge.stop());
    return edge;
  };
  const edge = await open();
  const applier = new Applier(t, paths);
  t.after(() => applier.release());
  const add = (name: string) => edge.add({ name, environment: shop, certificate: 'self-signed' });
  const names = () => edge.list().map(({ name }) => name);
  const heldBy = async (name: string) => {
    await applier.hold();
    const added = add(name);
    added.catch(() => undefined);
    const isDesired = async () => (await applier.wanted())?.hosts.some((host) => host.name === name) === true;
    await waitFor(isDesired, { what: `a desired configuration with ${name}` });
    // The call is returned in an object, so that `await` does not wait for the call.
    return { added };
  };
  return { paths, open, edge, applier, add, names, heldBy };
}

test('a server does not rest while nginx is configured, and looks at its domains every hour', async (t) => {
  const { edge, applier, heldBy } = await edgeOf(t);
  assert.deepEqual([edge.isBusy, edge.dueIn], [false, null]);
  const { added } = await heldBy('first.example.com');
  edge.refresh();
  assert.ok(edge.isBusy);
  applier.release();
  await added;
  await waitFor(() => !edge.isBusy, { what: 'a configured nginx' });
  assert.equal(edge.dueIn, 3_600_000);
});

test('a call that cannot succeed fails at once, while another call waits for nginx', async (t) => {
  const { edge, applier, names, heldBy } = await edgeOf(t);
  const { added } = await heldBy('first.example.com');
  const wish = { name: 'x.example.com', environment: shop, certificate: 'self-signed' } as const;
  for (const [changes, code] of [
    [{ name: 'no host name' }, 'invalid_domain'],
    [{ environment: { app: 'none', environment: 'production' } }, 'app_not_found'],
    [{ name: 'first.example.com', environment: null }, 'domain_taken'],
    [{ certificate: { certificate: 'x', key: 'y' } }, 'invalid_certificate'],
  ] as const) {
    await assert.rejects(edge.add({ ...wish, ...changes }), { code }, code);
  }
  assert.deepEqual(applier.answered, [], 'the first call still waits');
  applier.release();
  await added;
  assert.deepEqual(names(), ['first.example.com']);
});

test('calls that wait for nginx share the next configuration', async (t) => {
  const { applier, add, names, heldBy } = await edgeOf(t);
  const { added } = await heldBy('first.example.com');
  const others = ['a', 'b', 'c', 'd'].map((label) => `${label}.example.com`);
  const all = Promise.all(others.map(add));
  all.catch(() => undefined);
  await waitFor(() => names().length === 5, { what: 'all five on record' });
  applier.release();
  await Promise.all([added, all]);
  assert.deepEqual(
    applier.answered.map(({ hosts }) => hosts.length),
    [1, 5],
  );
});

test('a domain that nginx refuses fails alone, and domains that are added at the same time are served', async (t) => {
  const { edge, applier, add, names, heldBy } = await edgeOf(t);
  await add('old.example.com');
  const { added } = await heldBy('first.example.com');
  applier.refused = 'bad.example.com';
  const refused = assert.rejects(add(applier.refused), {
    code: 'nginx_failed',
    message: /bad\.example\.com/,
  });
  const beside = [add('good.example.com'), edge.remove('old.example.com')];
  const isAllOnRecord = () => names().includes('bad.example.com') && names().includes('good.example.com');
  await waitFor(isAllOnRecord, { what: 'both on record' });
  applier.release();
  await Promise.all([added, refused, ...beside]);
  const good = ['first.example.com', 'good.example.com'];
  assert.deepEqual(names(), good);
  const served = async () => {
    const wanted = await applier.wanted();
    const isAnswered = applier.answered.at(-1)?.revision === wanted?.revision;
    return isAnswered && wanted?.hosts.map(({ name }) => name).join() === good.join();
  };
  await waitFor(served, { what: 'a configuration without the refused domain' });
  await waitFor(() => edge.fault === null, { what: 'the end of the fault' });
});

test('two calls for one name run one after the other', async (t) => {
  const { applier, edge, add, heldBy } = await edgeOf(t);
  const { added } = await heldBy('shop.example.com');
  const again = add('shop.example.com');
  applier.release();
  const [first, second] = await Promise.all([added, again]);
  assert.equal(first.createdAt, second.createdAt);
  assert.equal(edge.list().length, 1);
});

test('the removal of an app does not wait for nginx, and adding a domain for the app fails', async (t) => {
  const { edge, applier, names, heldBy } = await edgeOf(t);
  const { added } = await heldBy('shop.example.com');
  await edge.removeOf(({ app }) => app === 'shop');
  assert.deepEqual(names(), []);
  assert.deepEqual(applier.answered, []);
  applier.release();
  await assert.rejects(added, { code: 'domain_not_found' });
  // Background work still needs the directory.
  await edge.stop();
});

test('a refused domain is tried once, and its error is not about a damaged certificate', async (t) => {
  const { paths, edge, applier, add, names } = await edgeOf(t);
  await add('good.example.com');
  applier.refused = 'bad.example.com';
  const certificate = paths.edge.certificate(applier.refused);
  await writeFile(certificate, 'damaged');
  await assert.rejects(add(applier.refused), { code: 'nginx_failed' });
  assert.deepEqual(names(), ['good.example.com']);
  assert.equal(await readFile(certificate, 'utf8'), 'damaged');
  const tries = applier.answered.filter(({ hosts }) => hosts.length === 2);
  assert.equal(tries.length, 1);
  await edge.stop();
});

test('with damaged results of orders, the removal of an app leaves nginx unchanged until a repair', async (t) => {
  for (const others of [[], ['api.example.com']]) {
    const { paths, open, edge, applier, add } = await edgeOf(t);
    await add('shop.example.com');
    for (const name of others) await edge.add({ name, environment: null, certificate: 'self-signed' });
    await edge.stop();
    const before = await applier.wanted();
    await writeFile(paths.edge.orders, '{"shop.example.com": {}}');
    const damaged = await open();
    damaged.start();
    assert.match(damaged.fault?.message ?? '', /orders\.json has/);
    await damaged.removeOf(({ app }) => app === 'shop');
    await damaged.stop();
    assert.deepEqual(await applier.wanted(), before);
    await rm(paths.edge.orders);
    const repaired = await open();
    assert.equal(repaired.fault, null);
    repaired.start();
    const isDropped = async () =>
      (await applier.wanted())?.hosts.map(({ name }) => name).join() === others.join();
    await waitFor(isDropped, { what: 'a configuration without the removed app' });
    await repaired.stop();
  }
});

test('a damaged wanted.json counts as absent', async (t) => {
  const { paths, open, edge, applier, add } = await edgeOf(t);
  await add('shop.example.com');
  await edge.stop();
  for (const text of ['{', '{"revision": 1, "hosts": {}}', '{"revision": 1, "hosts": [null]}']) {
    await applier.hold();
    await writeFile(paths.edge.desired, text);
    const again = await open();
    assert.deepEqual(again.routed, []);
    const added = again.add({ name: 'shop.example.com', environment: shop, certificate: 'self-signed' });
    const isReplaced = async () => (await readFile(paths.edge.desired, 'utf8')) !== text;
    await waitFor(isReplaced, { what: 'a new configuration' });
    applier.release();
    await added;
    assert.deepEqual(again.routed, [{ host: '127.0.0.1', port: 9001 }]);
    await again.stop();
  }
});
