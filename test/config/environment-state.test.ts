import assert from 'node:assert/strict';
import { once } from 'node:events';
import { rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { test } from 'node:test';
import {
  allocatePort,
  ensureEnvironmentState,
  ensurePortRecord,
  listEnvironmentsWithState,
  loadEnvironmentState,
  saveEnvironmentState,
} from '../../src/config/environment-state.ts';
import { Paths } from '../../src/config/paths.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const host = '127.0.0.1';

test('simultaneous first deploys get different free ports', async (t) => {
  const paths = new Paths(await temporaryDirectory(t));
  const other = createServer();
  other.listen(0, host);
  await once(other, 'listening');
  t.after(() => other.close());
  const firstPort = (other.address() as AddressInfo).port;
  const ids = ['shop', 'blog', 'shop'].map((app, index) => ({
    app,
    environment: index === 2 ? 'staging' : 'production',
  }));
  const states = await Promise.all(ids.map((id) => ensureEnvironmentState(paths, id, { firstPort, host })));
  const ports = states.map(({ port }) => port);
  assert.equal(new Set([firstPort, ...ports]).size, 4);
  assert.ok(ports.every((port) => port > firstPort));
  const again = ids[0] ?? assert.fail();
  assert.deepEqual(await ensureEnvironmentState(paths, again, { firstPort, host }), states[0]);
  assert.deepEqual(await listEnvironmentsWithState(paths), [
    { app: 'blog', environment: 'production' },
    { app: 'shop', environment: 'production' },
    { app: 'shop', environment: 'staging' },
  ]);
});

test('a new app gets the port of a removed one only when no higher port is left', async (t) => {
  const paths = new Paths(await temporaryDirectory(t));
  const firstPort = 65_520;
  const create = async (app: string) =>
    (await ensureEnvironmentState(paths, { app, environment: 'production' }, { firstPort, host })).port;
  const first = await create('first');
  const second = await create('second');
  assert.ok(second > first);
  await rm(paths.app('first'), { recursive: true });
  await rm(paths.app('second'), { recursive: true });
  const others: number[] = [];
  for (let number = 0; others.at(-1) !== first; number += 1) others.push(await create(`app-${number}`));
  assert.deepEqual(
    others,
    others
      .slice(0, -1)
      .toSorted((a, b) => a - b)
      .concat(first),
  );
  assert.ok((others[0] as number) > second);
  await writeFile(paths.ports, 'damaged');
  assert.equal(await create('last'), second);
});

test('apps that get a port at the same time get different ports', async (t) => {
  const paths = new Paths(await temporaryDirectory(t));
  const firstPort = 42_000;
  const id = { app: 'shop', environment: 'production' };
  const [first, second, { port }] = await Promise.all([
    allocatePort(paths, firstPort, host),
    allocatePort(paths, firstPort, host),
    ensureEnvironmentState(paths, id, { firstPort, host }),
  ]);
  assert.equal(new Set([first, second, port]).size, 3);
});

for (const highest of [0, 41_998, 42_005.5, 65_536, 1e9, null])
  test(`a damaged record of ports is ignored: highest ${highest}`, async (t) => {
    const paths = new Paths(await temporaryDirectory(t));
    const firstPort = 42_000;
    await writeFile(paths.ports, JSON.stringify({ firstPort, highest }));
    const port = await allocatePort(paths, firstPort, host);
    assert.ok(Number.isInteger(port) && port >= firstPort && port < 42_100, String(port));
  });

test('without a record, the ports of apps that exist are recorded before one is removed', async (t) => {
  const paths = new Paths(await temporaryDirectory(t));
  const create = async (app: string) =>
    (await ensureEnvironmentState(paths, { app, environment: 'production' }, { firstPort: 42_200, host }))
      .port;
  const first = await create('first');
  await rm(paths.ports);
  await ensurePortRecord(paths, 42_200);
  await rm(paths.app('first'), { recursive: true });
  const second = await create('second');
  assert.ok(second > first);
  // A record that exists stays.
  await rm(paths.app('second'), { recursive: true });
  await ensurePortRecord(paths, 42_200);
  assert.ok((await create('third')) > second);
});

test('the error names the ports if none is free', async (t) => {
  const paths = new Paths(await temporaryDirectory(t));
  const first = await ensureEnvironmentState(
    paths,
    { app: 'a', environment: 'production' },
    { firstPort: 65535, host },
  );
  assert.equal(first.port, 65535);
  await assert.rejects(
    ensureEnvironmentState(paths, { app: 'b', environment: 'production' }, { firstPort: 65535, host }),
    {
      code: 'port_taken',
      message: 'no port from 65535 to 65535 is free on 127.0.0.1',
    },
  );
});

test('a state is stored unchanged, and the error of a damaged state lists all faults', async (t) => {
  const paths = new Paths(await temporaryDirectory(t));
  const id = { app: 'shop', environment: 'production' };
  const { state: path } = paths.environment(id);
  assert.equal(await loadEnvironmentState(path), undefined);
  const state = await ensureEnvironmentState(paths, id, { firstPort: 20_000, host });
  await saveEnvironmentState(path, { ...state, desired: 'stopped', workers: 3 });
  assert.deepEqual(await loadEnvironmentState(path), { ...state, desired: 'stopped', workers: 3 });
  await writeFile(path, JSON.stringify({ ...state, port: 0, desired: 'asleep' }));
  await assert.rejects(loadEnvironmentState(path), {
    code: 'invalid_settings',
    message: /app\.json has 2 faults:\n {2}port: .*\n {2}desired: /,
  });
});
