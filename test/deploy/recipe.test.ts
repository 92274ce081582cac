import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { releaseView } from '../../src/apps/release-view.ts';
import type { DeployEvent } from '../../src/deploy/events.ts';
import { AppError } from '../../src/errors/app-error.ts';
import type { JobSpec } from '../../src/protocol/runner.ts';
import { answering, answeringWithHooks } from '../support/apps.ts';
import { freePort } from '../support/free-port.ts';
import { pack } from '../support/pack.ts';
import { idOf, TestService } from '../support/service.ts';
import { waitFor } from '../support/wait.ts';

const shop = idOf('shop');

/** Events of a deploy, and its outcome. */
class Watched {
  readonly events: DeployEvent[] = [];
  readonly watch = (event: DeployEvent) => void this.events.push(event);

  get steps(): string[] {
    return this.events.flatMap((event) => (event.event === 'step' ? event.step : []));
  }

  get failure() {
    const last = this.events.at(-1);
    return last?.event === 'failed' ? last.error : undefined;
  }

  untilStep(step: string): Promise<true> {
    return waitFor(() => this.steps.includes(step), { interval: 1, what: step });
  }

  untilLine(pattern: RegExp): Promise<true> {
    const matches = (event: DeployEvent) => event.event === 'log' && pattern.test(event.line);
    return waitFor(() => this.events.some(matches), { interval: 1, what: String(pattern) });
  }
}

/** Lets a boot or a job wait until the test releases it. */
function gate(): { passed: () => Promise<void>; open: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { passed: () => promise, open: resolve };
}

test('a deploy runs its steps in order, and only those that the app has', async (t) => {
  const server = await TestService.start(t);
  const [plain, withHooks] = [new Watched(), new Watched()];
  await server.deploy('shop', answering('one'), plain.watch);
  await server.deploy('shop', answeringWithHooks('two'), withHooks.watch);
  const always = 'receive wait check publish boot switch record clean'.split(' ');
  assert.deepEqual(plain.steps, always);
  const hooks = 'receive wait check preBuild postBuild publish preSwitch boot switch record postSwitch clean';
  assert.deepEqual(withHooks.steps.join(' '), hooks);
  assert.deepEqual(
    (await server.history()).map(({ action, release, outcome }) => [action, release, outcome]),
    [
      ['deploy', 1, 'done'],
      ['deploy', 2, 'done'],
    ],
  );
});

for (const step of ['preBuild', 'postBuild', 'preSwitch']) {
  test(`a deploy that fails at ${step} leaves the live release, and reports the step`, async (t) => {
    const server = await TestService.start(t);
    await server.deploy('shop', answering('one'));
    const watched = new Watched();
    const only = { hooks: { [step]: 'exit 1' } };
    server.runner.onJob = () => {
      throw new AppError('hook_failed', 'exit status 1');
    };
    await assert.rejects(server.deploy('shop', answering('two', only), watched.watch), {
      code: 'hook_failed',
    });
    assert.equal(watched.failure?.step, step);
    assert.equal((await releaseView(await server.service.find(shop), 2)).error?.step, step);
    assert.equal((await server.service.status(shop)).release, 1);
    assert.equal((await server.history()).at(-1)?.['code'], 'hook_failed');
    const entry = server.log.find(({ text }) => text === 'deploy failed');
    assert.equal(entry?.['step'], step);
  });
}

test('a release whose postSwitch hook fails stays live, with a notice', async (t) => {
  const server = await TestService.start(t);
  server.runner.onJob = () => {
    throw new AppError('hook_failed', 'exit status 1');
  };
  const { state, number } = await server.deploy(
    'shop',
    answering('one', { hooks: { postSwitch: 'exit 1' } }),
  );
  assert.equal(state, 'live');
  const { notices } = await releaseView(await server.service.find(shop), number);
  const [notice] = notices;
  assert.equal(notice?.code, 'postSwitch_failed');
  assert.match(notice.message, /^the release is live, but the step postSwitch failed: exit status 1/);
});

test('a third deploy supersedes the one that waits', async (t) => {
  const server = await TestService.start(t);
  const boot = gate();
  server.runner.onBoot = boot.passed;
  const watched = [new Watched(), new Watched(), new Watched()] as const;
  const first = server.deploy('shop', answering('one'), watched[0].watch);
  await watched[0].untilStep('boot');
  const second = server.deploy('shop', answering('two'), watched[1].watch);
  second.catch(() => undefined);
  await watched[1].untilLine(/^waiting for release 1/);
  const third = server.deploy('shop', answering('three'), watched[2].watch);
  await assert.rejects(second, { code: 'superseded', status: 409 });
  assert.equal(watched[1].failure?.step, 'wait');
  assert.deepEqual((await server.service.status(shop)).deploying, [1, 3]);
  boot.open();
  assert.deepEqual(
    (await Promise.all([first, third])).map(({ number }) => number),
    [1, 3],
  );
});

test('a deploy whose upload ends after that of a newer one is superseded', async (t) => {
  const server = await TestService.start(t);
  const upload = new PassThrough();
  const archive = await pack(answering('slow'));
  const watched = new Watched();
  upload.write(archive.subarray(0, 100));
  const slow = server.deployBody('shop', upload, watched.watch);
  slow.catch(() => undefined);
  await watched.untilStep('receive');
  assert.equal((await server.deploy('shop', answering('fast'))).number, 2);
  upload.end(archive.subarray(100));
  await assert.rejects(slow, { code: 'superseded' });
  assert.equal((await server.service.status(shop)).release, 2);
});

test('a deploy can be cancelled while it waits and while it boots, and the live release stays', async (t) => {
  const server = await TestService.start(t);
  await server.deploy('shop', answering('one'));
  const boot = gate();
  server.runner.onBoot = boot.passed;
  const [booting, waiting] = [new Watched(), new Watched()];
  const deploys = [server.deploy('shop', answering('two'), booting.watch)];
  await booting.untilStep('boot');
  deploys.push(server.deploy('shop', answering('three'), waiting.watch));
  for (const each of deploys) each.catch(() => undefined);
  await waiting.untilLine(/^waiting for release 2/);
  for (const number of [3, 2]) {
    assert.equal((await server.service.cancel(shop, number, 'test')).state, 'failed');
  }
  for (const each of deploys) await assert.rejects(each, { code: 'cancelled' });
  assert.deepEqual([booting.failure?.step, waiting.failure?.step], ['boot', 'wait']);
  assert.equal((await server.service.status(shop)).release, 1);
  await assert.rejects(server.service.cancel(shop, 1, 'test'), { code: 'not_cancellable' });
});

test('a deploy cannot be cancelled once its switch has begun', async (t) => {
  const server = await TestService.start(t);
  const step = gate();
  const watched = new Watched();
  server.runner.onSwitch = step.passed;
  const deploy = server.deploy('shop', answering('one'), watched.watch);
  await watched.untilStep('switch');
  await assert.rejects(server.service.cancel(shop, 1, 'test'), { code: 'not_cancellable' });
  step.open();
  assert.equal((await deploy).state, 'live');
});

test('builds of two apps run one after the other', async (t) => {
  const server = await TestService.start(t);
  const build = gate();
  server.runner.onJob = build.passed;
  const [left, right] = [new Watched(), new Watched()];
  const files = answering('built', { hooks: { preBuild: ':' } });
  const first = server.deploy('left', files, left.watch);
  await left.untilStep('preBuild');
  const second = server.deploy('right', files, right.watch);
  await right.untilLine(/^waiting for another build/);
  assert.equal(right.steps.includes('preBuild'), false);
  build.open();
  await Promise.all([first, second]);
});

test('a rollback does not wait for a build, and the build goes live after it', async (t) => {
  const server = await TestService.start(t);
  await server.deploy('shop', answering('one'));
  await server.deploy('shop', answering('two'));
  const build = gate();
  server.runner.onJob = (_job: JobSpec) => build.passed();
  const watched = new Watched();
  const deploy = server.deploy('shop', answering('three', { hooks: { preBuild: ':' } }), watched.watch);
  await watched.untilStep('preBuild');
  assert.equal((await server.service.rollback(shop, null, 'test')).number, 1);
  build.open();
  assert.equal((await deploy).number, 3);
  assert.equal((await server.service.status(shop)).release, 3);
});

test('a server that stops cancels deploys, and waits for a switch', async (t) => {
  const server = await TestService.start(t);
  const [boot, step] = [gate(), gate()];
  const [booting, switching] = [new Watched(), new Watched()];
  server.runner.onBoot = ({ key }) => (key === 'shop' ? boot.passed() : undefined);
  server.runner.onSwitch = step.passed;
  const cancelled = server.deploy('shop', answering('one'), booting.watch);
  const live = server.deploy('desk', answering('one'), switching.watch);
  cancelled.catch(() => undefined);
  await Promise.all([booting.untilStep('boot'), switching.untilStep('switch')]);
  const stopped = server.service.shutDown();
  await assert.rejects(cancelled, { code: 'stopping' });
  step.open();
  assert.equal((await live).state, 'live');
  await stopped;
  await assert.rejects(server.deploy('shop', answering('two')), { code: 'stopping' });
});

test('a rollback does not wait for a postSwitch hook', async (t) => {
  const server = await TestService.start(t);
  await server.deploy('shop', answering('one'));
  const hook = gate();
  server.runner.onJob = hook.passed;
  const watched = new Watched();
  const files = answering('two', { hooks: { postSwitch: ':' } });
  const deploy = server.deploy('shop', files, watched.watch);
  await watched.untilStep('postSwitch');
  assert.equal((await server.service.status(shop)).release, 2);
  assert.equal((await server.service.rollback(shop, null, 'test')).number, 1);
  hook.open();
  assert.equal((await deploy).state, 'retained');
});

test('a server that stops does not wait for a postSwitch hook, and the release stays live', async (t) => {
  const server = await TestService.start(t);
  server.runner.onJob = gate().passed;
  const watched = new Watched();
  const files = answering('one', { hooks: { postSwitch: ':' } });
  const deploy = server.deploy('shop', files, watched.watch);
  await watched.untilStep('postSwitch');
  await server.service.shutDown();
  assert.equal((await deploy).state, 'live');
});

test('a rollback and a restart run no hooks', async (t) => {
  const server = await TestService.start(t);
  await server.deploy('shop', answering('one', { hooks: { preSwitch: ':', postSwitch: ':' } }));
  await server.deploy('shop', answering('two'));
  server.runner.onJob = () => assert.fail('a hook ran');
  await server.service.rollback(shop, 1, 'test');
  await server.service.changeRunState('restart', shop, 'test');
  assert.equal((await server.service.status(shop)).release, 1);
});

test('an app that was never live gets another port if another process has its port', async (t) => {
  const server = await TestService.start(t, { apps: { firstPort: await freePort() } });
  const watched = new Watched();
  const ports: number[] = [];
  server.runner.onBoot = ({ port }) => {
    ports.push(port);
    if (port === ports[0]) throw new AppError('port_taken', `port ${port} is in use by another process`);
  };
  await server.deploy('shop', answering('one'), watched.watch);
  const [taken = 0, given] = ports;
  assert.equal(ports.length, 2);
  assert.equal((await server.service.status(shop)).port, given);
  await watched.untilLine(new RegExp(`port ${taken} is in use .*, so the app gets port ${given}$`));
});

test('an app that was live keeps its port, also if another process has it', async (t) => {
  const server = await TestService.start(t);
  await server.deploy('shop', answering('one'));
  const { port } = await server.service.status(shop);
  server.runner.onBoot = () => {
    throw new AppError('port_taken', 'in use');
  };
  await assert.rejects(server.deploy('shop', answering('two')), { code: 'port_taken' });
  assert.equal((await server.service.status(shop)).port, port);
});

test('if a release needs a port that the live one has, the hint offers "overlap": false, but not before an app is live', async (t) => {
  const server = await TestService.start(t);
  const boot = server.runner.onBoot;
  const hintOf = async (settings: Record<string, unknown>) => {
    server.runner.onBoot = () => {
      throw new AppError('boot_exited', 'the app ended\n  | Error: bind EADDRINUSE 127.0.0.1:9465');
    };
    const error = await server.deploy('shop', answering('x', settings)).catch((reason: AppError) => reason);
    return (error as AppError).hint;
  };
  assert.doesNotMatch(await hintOf({}), /overlap/);
  server.runner.onBoot = boot;
  await server.deploy('shop', answering('one'));
  assert.match(await hintOf({}), /"overlap": false in sluice\.json/);
  assert.doesNotMatch(await hintOf({ overlap: false }), /overlap/);
});
