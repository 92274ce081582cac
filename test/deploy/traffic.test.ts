import assert from 'node:assert/strict';
import { readFile, rm } from 'node:fs/promises';
import { test } from 'node:test';
import { Registry } from '../../src/apps/registry.ts';
import type { DeployEvent } from '../../src/deploy/events.ts';
import { Recovery } from '../../src/deploy/recover.ts';
import { AppError } from '../../src/errors/app-error.ts';
import { answering } from '../support/apps.ts';
import { idOf, TestService } from '../support/service.ts';
import { waitFor } from '../support/wait.ts';

const shop = idOf('shop');

/** Fails as the runner does. */
function fail(message = 'the app did not start'): never {
  throw new AppError('boot_exited', message);
}

test('a rollback whose watcher throws stays live and counts as done', async (t) => {
  const server = await TestService.start(t);
  await server.deploy('shop', answering('one'));
  await server.deploy('shop', answering('two'));
  const events: string[] = [];
  const release = await server.service.rollback(shop, 1, 'test', ({ event }) => {
    events.push(event);
    throw new Error('the client is gone');
  });
  assert.deepEqual([release.number, release.state], [1, 'live']);
  assert.deepEqual(events, ['accepted', 'step', 'step', 'live']);
  assert.deepEqual((await server.service.status(shop)).release, 1);
  const { action, outcome } = (await server.history()).at(-1) ?? {};
  assert.deepEqual([action, outcome], ['rollback', 'done']);
  assert.ok(server.log.some(({ text }) => text === 'watcher failed'));
});

test('a deploy whose watcher throws goes live', async (t) => {
  const server = await TestService.start(t);
  const release = await server.deploy('shop', answering('one'), () => {
    throw new Error('the client is gone');
  });
  assert.equal(release.state, 'live');
});

test('a failed rollback names the step, and the traffic stays', async (t) => {
  const server = await TestService.start(t);
  await server.deploy('shop', answering('one'));
  await server.deploy('shop', answering('two'));
  const events: DeployEvent[] = [];
  const rollback = () => server.service.rollback(shop, 1, 'test', (event) => events.push(event));

  server.runner.onBoot = () => fail();
  await assert.rejects(rollback(), { code: 'boot_exited' });
  server.runner.onBoot = () => undefined;
  server.runner.onSwitch = () => fail();
  await assert.rejects(rollback(), { code: 'boot_exited' });
  const failures = events.filter((event) => event.event === 'failed');
  assert.deepEqual(
    failures.map(({ error, release }) => [error.step, release?.number]),
    [
      ['boot', 1],
      ['switch', 1],
    ],
  );
  assert.equal((await server.service.status(shop)).release, 2);
  assert.equal(server.runner.booted.size, 0, 'the generation is discarded');
});

test('a rollback boots workers if its standby ends before the switch, and only then tries again', async (t) => {
  const server = await TestService.start(t);
  const { runner } = server;
  await server.deploy('shop', answering('one'));
  await server.deploy('shop', answering('two'));
  const endStandby = () => {
    runner.isWarm = false;
    throw new AppError('switch_failed', 'a worker of the new release died before the switch');
  };
  runner.onSwitch = endStandby;
  await assert.rejects(server.service.rollback(shop, 1, 'test'), { code: 'switch_failed' });
  runner.isWarm = true;
  runner.calls.length = 0;
  runner.onSwitch = () => (runner.isWarm ? endStandby() : undefined);
  assert.equal((await server.service.rollback(shop, 1, 'test')).state, 'live');
  const ofMoves = runner.calls.filter((name) => ['boot', 'switch', 'discard'].includes(name));
  assert.deepEqual(ofMoves, ['boot', 'switch', 'discard', 'boot', 'switch']);
  assert.equal((await server.service.status(shop)).release, 1);
});

test('a change of variables is kept only if its switch succeeds', async (t) => {
  const server = await TestService.start(t);
  await server.deploy('shop', answering('one'));
  const change = (NAME: string) =>
    server.service.changeVariables(shop, { NAME }, { restart: true, by: 'test' });
  await change('before');
  const kept = () => readFile(server.environment('shop').env, 'utf8').then((text) => JSON.parse(text));

  server.runner.onBoot = ({ env }) => fail(`NAME is ${env['NAME']}`);
  await assert.rejects(change('boot'), { message: 'NAME is boot' });
  assert.deepEqual(await kept(), { NAME: 'before' });

  server.runner.onBoot = () => undefined;
  let duringSwitch: unknown;
  server.runner.onSwitch = async () => {
    duringSwitch = await kept();
    fail();
  };
  await assert.rejects(change('switch'), { code: 'boot_exited' });
  assert.deepEqual(duringSwitch, { NAME: 'switch' });
  assert.deepEqual(await kept(), { NAME: 'before' });

  server.runner.onSwitch = () => undefined;
  const { outcome, changed } = await change('after');
  assert.deepEqual([outcome, changed], ['switched', ['NAME']]);
  assert.equal(server.runner.active.get('shop')?.spec.env['NAME'], 'after');
});

test('a failed scale keeps the number of workers', async (t) => {
  const server = await TestService.start(t);
  await server.deploy('shop', answering('one'));
  server.runner.onSwitch = () => fail();
  await assert.rejects(server.service.scale(shop, 3, 'test'), { code: 'boot_exited' });
  server.runner.onSwitch = () => undefined;
  assert.equal((await server.service.changeRunState('restart', shop, 'test')).wanted, 1);
  assert.equal((await server.service.scale(shop, 3, 'test')).wanted, 3);
});

test('a change that is made succeeds if the runner is lost before the background processes have started', async (t) => {
  const server = await TestService.start(t);
  await server.deploy('shop', answering('one'));
  server.runner.onReplaced = () => {
    throw new AppError('runner_unavailable', 'gone');
  };
  assert.equal((await server.service.scale(shop, 3, 'test')).wanted, 3);
  for (const action of ['restart', 'stop', 'start'] as const)
    await server.service.changeRunState(action, shop, 'test');
  const outcomes = (await server.history()).slice(-4).map(({ action, outcome }) => [action, outcome]);
  assert.deepEqual(
    outcomes,
    ['scale', 'restart', 'stop', 'start'].map((action) => [action, 'done']),
  );
  const warnings = server.log.filter(({ text }) => text === 'background processes not awaited');
  assert.equal(warnings.length, 4);
});

test('a switch whose answer is lost counts as made if it is on record', async (t) => {
  const server = await TestService.start(t);
  server.runner.afterSwitch = () => {
    throw new AppError('runner_unavailable', 'gone');
  };
  assert.equal((await server.deploy('shop', answering('one'))).state, 'live');
  assert.ok(server.log.some(({ text }) => text === 'switched without an answer'));
  server.runner.onSwitch = () => {
    throw new AppError('runner_unavailable', 'gone');
  };
  await assert.rejects(server.deploy('shop', answering('two')), { code: 'runner_unavailable' });
  assert.equal((await server.service.status(shop)).release, 1);
});

test('only one operation at a time boots and switches', async (t) => {
  const server = await TestService.start(t);
  await server.deploy('shop', answering('one'));
  await server.deploy('shop', answering('two'));
  let concurrent = 0;
  let most = 0;
  server.runner.onBoot = async () => {
    concurrent += 1;
    most = Math.max(most, concurrent);
    await new Promise(setImmediate);
  };
  server.runner.onSwitch = () => {
    concurrent -= 1;
  };
  await Promise.all([
    server.service.changeRunState('restart', shop, 'test'),
    server.service.rollback(shop, 1, 'test'),
    server.service.scale(shop, 2, 'test'),
    server.service.changeVariables(shop, { A: 'b' }, { restart: true, by: 'test' }),
    server.deploy('shop', answering('three')),
  ]);
  assert.equal(most, 1);
});

test('a secret in the output of a failed boot is masked', async (t) => {
  const server = await TestService.start(t);
  await server.deploy('shop', answering('one'));
  await server.deploy('shop', answering('two'));
  await server.service.changeVariables(shop, { KEY: 'sesame-open' }, { restart: true, by: 'test' });
  const lines: string[] = [];
  server.runner.onBoot = (_spec, print) => {
    print('key: sesame-open');
    fail('it printed sesame-open');
  };
  const rollback = server.service.rollback(shop, 1, 'test', (event) => {
    if (event.event === 'log') lines.push(event.line);
  });
  await assert.rejects(rollback, { message: 'it printed ••••••' });
  assert.deepEqual(lines, ['key: ••••••']);
});

test('recovery starts the apps that should run, and tries again later if an app does not start', async (t) => {
  const server = await TestService.start(t);
  for (const app of ['shop', 'desk', 'off']) await server.deploy(app, answering('one'));
  await server.service.changeRunState('stop', idOf('off'), 'test');
  server.runner.active.clear();
  let failures = 2;
  server.runner.onBoot = ({ key }) => {
    if (key === 'shop' && failures-- > 0) fail();
  };
  const delays: number[] = [];
  const sleep = async (milliseconds: number) => void delays.push(milliseconds);
  const registry = new Registry(server.appliance);
  const recovery = new Recovery(server.appliance, registry, () => assert.fail(), sleep);
  await recovery.startAll();
  await waitFor(() => server.runner.active.has('shop'));
  await recovery.stop();
  assert.deepEqual([...server.runner.active.keys()].sort(), ['desk', 'shop']);
  assert.deepEqual(
    delays.filter((delay) => delay > 0),
    [1000, 2000],
  );
  assert.equal((await registry.find(shop)).problem, null);
});

test('recovery gives up an app that is removed', async (t) => {
  const server = await TestService.start(t);
  await server.deploy('shop', answering('one'));
  server.runner.active.clear();
  const registry = new Registry(server.appliance);
  const remove = async () => {
    await server.service.destroy(shop, 'test');
  };
  const recovery = new Recovery(server.appliance, registry, () => assert.fail(), remove);
  await recovery.startAll();
  assert.ok(!server.log.some(({ text }) => text === 'app not started'));
  await recovery.stop();
});

test('a server rests after recovery, but not after a failed rebuild, which the next server would repeat', async (t) => {
  const server = await TestService.start(t);
  await server.deploy('shop', answering('one'));
  const registry = new Registry(server.appliance);
  const environment = await registry.find(shop);
  const recover = async (rebuild: () => Promise<unknown>) => {
    server.runner.active.clear();
    const recovery = new Recovery(server.appliance, registry, rebuild);
    await recovery.startAll();
    await recovery.stop();
    return recovery;
  };
  assert.equal((await recover(() => assert.fail())).isBusy, false);
  await rm(environment.paths.generation);
  assert.equal(await environment.store.active(), null);
  await environment.changeState({ rebuild: 1 });
  let tries = 0;
  const failed = await recover(async () => {
    tries += 1;
    throw new Error('not built');
  });
  assert.equal(tries, 1);
  assert.equal(failed.isBusy, true);
  assert.equal((await recover(async () => undefined)).isBusy, false);
});

test('recovery records the ports of apps if there is no record', async (t) => {
  const server = await TestService.start(t);
  await server.deploy('shop', answering('one'));
  const { port } = await (await server.service.find(shop)).state();
  await rm(server.paths.ports);
  await server.service.recover();
  const { highest } = JSON.parse(await readFile(server.paths.ports, 'utf8'));
  assert.equal(highest, port);
});
