import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { test } from 'node:test';
import {
  ensureEnvironmentState,
  listEnvironmentsWithState,
  loadEnvironmentState,
  saveEnvironmentState,
} from '../../src/config/environment-state.ts';
import { Paths } from '../../src/config/paths.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const host = '127.0.0.1';

test('apps that come at the same time get ports of their own, past one that somebody else holds', async (t) => {
  const paths = new Paths(await temporaryDirectory(t));
  const stranger = createServer();
  stranger.listen(0, host);
  await once(stranger, 'listening');
  t.after(() => stranger.close());
  const firstPort = (stranger.address() as AddressInfo).port;
  const targets = ['shop', 'blog', 'shop'].map((app, index) => ({
    app,
    environment: index === 2 ? 'staging' : 'production',
  }));
  const states = await Promise.all(
    targets.map((target) => ensureEnvironmentState(paths, target, { firstPort, host })),
  );
  const ports = states.map(({ port }) => port);
  assert.equal(new Set([firstPort, ...ports]).size, 4);
  assert.ok(ports.every((port) => port > firstPort));
  const again = targets[0] ?? assert.fail();
  assert.deepEqual(await ensureEnvironmentState(paths, again, { firstPort, host }), states[0]);
  assert.deepEqual(await listEnvironmentsWithState(paths), [
    { app: 'blog', environment: 'production' },
    { app: 'shop', environment: 'production' },
    { app: 'shop', environment: 'staging' },
  ]);
});

test('where no port is free, the error says which were tried', async (t) => {
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

test('a state is read back as it was written, and one that was damaged by hand says all its faults', async (t) => {
  const paths = new Paths(await temporaryDirectory(t));
  const target = { app: 'shop', environment: 'production' };
  const { state: path } = paths.environment(target);
  assert.equal(await loadEnvironmentState(path), undefined);
  const state = await ensureEnvironmentState(paths, target, { firstPort: 20_000, host });
  await saveEnvironmentState(path, { ...state, desired: 'stopped', workers: 3 });
  assert.deepEqual(await loadEnvironmentState(path), { ...state, desired: 'stopped', workers: 3 });
  await writeFile(path, JSON.stringify({ ...state, port: 0, desired: 'asleep' }));
  await assert.rejects(loadEnvironmentState(path), {
    code: 'invalid_settings',
    message: /app\.json has 2 faults:\n {2}port: .*\n {2}desired: /,
  });
});
