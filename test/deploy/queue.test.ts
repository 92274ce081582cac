import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { DeployEvent } from '../../src/deploy/events.ts';
import type { AppError } from '../../src/errors/app-error.ts';
import { processStartTime } from '../../src/system/process/processes.ts';
import { answering, answeringOnceThereIs } from '../support/apps.ts';
import { type Files, pack } from '../support/pack.ts';
import { type Sluice, startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';

test('several deploys of one app', async (t) => {
  const sluice = await startSluice(t);

  await t.test('a second one waits, and a third takes the place of the one that waits', async () => {
    const go = join(sluice.home, 'go-1');
    const first = new Watched(sluice, 'shop', answeringOnceThereIs(go, 'first'));
    await first.until('boot');
    const second = new Watched(sluice, 'shop', answering('second'));
    await second.untilLine(/waiting for release 1/);
    const third = new Watched(sluice, 'shop', answering('third'));

    const replaced = await second.outcome;
    assert.equal(replaced.event, 'failed');
    assert.equal(replaced.event === 'failed' && replaced.error.code, 'superseded');
    assert.match(replaced.event === 'failed' ? replaced.error.message : '', /was superseded by release 3/);
    assert.deepEqual((await sluice.status('shop')).deploying, [1, 3]);
    await writeFile(go, '');
    assert.equal((await first.outcome).event, 'live');
    assert.equal((await third.outcome).event, 'live');
    assert.equal(await sluice.get('shop'), 'third');
    assert.deepEqual(states(await sluice.releases('shop')), { 1: 'retained', 2: 'failed', 3: 'live' });
  });

  await t.test('the one that gave way is answered with 409', async () => {
    const go = join(sluice.home, 'go-2');
    const first = new Watched(sluice, 'desk', answeringOnceThereIs(go, 'first'));
    await first.until('boot');
    const second = sluice.deploy('desk', answering('second'));
    second.catch(() => undefined);
    await waitFor(async () => (await sluice.status('desk')).deploying.includes(2), { what: 'the second' });
    await waitFor(async () => /== wait/.test(await buildLog(sluice, 'desk', 2)), { what: 'its wait' });
    const third = sluice.deploy('desk', answering('third'));
    await assert.rejects(second, (error: AppError) => error.code === 'superseded' && error.status === 409);
    await writeFile(go, '');
    assert.equal((await third).state, 'live');
  });

  await t.test('an upload that is overtaken by a newer one does not go live after it', async () => {
    await sluice.deploy('late', answering('first'));
    const archive = await pack(answering('second'));
    const { readable: body, writable } = new TransformStream();
    const sender = writable.getWriter();
    const init = { method: 'POST', body, duplex: 'half' } as RequestInit;
    const slow = sluice.request('/v1/apps/late/releases', init);
    await sender.write(archive.subarray(0, 100));
    await waitFor(async () => (await sluice.status('late')).deploying.includes(2), {
      what: 'the slow upload',
    });
    assert.equal((await sluice.deploy('late', answering('third'))).number, 3);
    await sender.write(archive.subarray(100));
    await sender.close();
    assert.equal((await slow).status, 409);
    assert.equal(await sluice.get('late'), 'third');
  });

  await t.test('one that waits can be cancelled, and one that boots: what is live stays live', async () => {
    await sluice.deploy('cart', answering('live'));
    const first = new Watched(sluice, 'cart', answeringOnceThereIs('/nonexistent', 'never'));
    await first.untilLine(/./);
    await first.until('boot');
    const second = new Watched(sluice, 'cart', answering('second'));
    await second.untilLine(/waiting for release 2/);
    const { state } = await sluice.call<{ state: string }>('POST', '/v1/apps/cart/releases/3/cancel');
    assert.equal(state, 'failed');
    await sluice.call('POST', '/v1/apps/cart/releases/2/cancel');
    for (const { outcome } of [first, second]) {
      const ended = await outcome;
      assert.equal(ended.event === 'failed' && ended.error.code, 'cancelled');
    }
    assert.equal(await sluice.get('cart'), 'live');
    const { workers } = await sluice.status('cart');
    assert.ok(
      workers.every(({ release }) => release === 1),
      'no worker of a cancelled release is left',
    );
    await assert.rejects(sluice.call('POST', '/v1/apps/cart/releases/1/cancel'), { code: 'not_cancellable' });
  });

  await t.test('cancelling a build ends all that it has started', async () => {
    const build = `
      const { spawn } = require('node:child_process');
      const child = spawn(process.execPath, ['-e', 'setInterval(() => undefined, 1000)']);
      console.log('pids ' + process.pid + ' ' + child.pid);
    `;
    const files = {
      ...answering('never'),
      'package.json': { name: 'app', scripts: { build: 'node build.js', start: 'node server.js' } },
      'build.js': build,
    };
    const deploy = new Watched(sluice, 'mill', files);
    const line = await deploy.untilLine(/^pids /);
    await sluice.call('POST', '/v1/apps/mill/releases/1/cancel');
    const ended = await deploy.outcome;
    assert.equal(ended.event === 'failed' && ended.error.code, 'cancelled');
    for (const pid of line.split(' ').slice(1).map(Number)) {
      await waitFor(async () => (await processStartTime(pid)) === undefined, { what: `the end of ${pid}` });
    }
  });

  await t.test('builds of two apps run one after the other', async () => {
    const go = join(sluice.home, 'go-5');
    const first = new Watched(sluice, 'left', buildingUntil(go));
    await first.untilLine(/^building/);
    const second = new Watched(sluice, 'right', buildingUntil(go));
    await second.untilLine(/waiting for another build/);
    await writeFile(go, '');
    assert.equal((await first.outcome).event, 'live');
    assert.equal((await second.outcome).event, 'live');
  });

  await t.test('a rollback does not wait for a deploy that is being built', async () => {
    await sluice.deploy('news', answering('one'));
    await sluice.deploy('news', answering('two'));
    const go = join(sluice.home, 'go-3');
    const deploy = new Watched(sluice, 'news', buildingUntil(go));
    await deploy.untilLine(/^building/);
    assert.equal((await sluice.rollback('news')).number, 1);
    assert.equal(await sluice.get('news'), 'one');
    await writeFile(go, '');
    assert.equal((await deploy.outcome).event, 'live');
    assert.equal(await sluice.get('news'), 'built');
  });

  await t.test('a sender that hangs up when all is sent changes nothing', async () => {
    await sluice.deploy('gone', answering('one'));
    const go = join(sluice.home, 'go-4');
    const deploy = new Watched(sluice, 'gone', answeringOnceThereIs(go, 'two'));
    await deploy.until('boot');
    deploy.hangUp();
    await writeFile(go, '');
    await waitFor(async () => (await sluice.status('gone')).release === 2, { what: 'release 2 live' });
    assert.equal(await sluice.get('gone'), 'two');
  });
});

/** An app whose build ends when the file is there. */
function buildingUntil(file: string): Files {
  return {
    ...answering('built'),
    'package.json': { name: 'app', scripts: { build: 'node build.js', start: 'node server.js' } },
    'build.js': `
      const { existsSync } = require('node:fs');
      console.log('building');
      setInterval(() => existsSync(${JSON.stringify(file)}) && process.exit(0), 20);
    `,
  };
}

/** A deploy that runs while the test does something else. */
class Watched {
  readonly outcome: Promise<DeployEvent>;
  readonly #events: DeployEvent[] = [];
  readonly #hangUp = new AbortController();

  constructor(sluice: Sluice, app: string, files: Files) {
    this.outcome = this.#watch(sluice, app, files);
    this.outcome.catch(() => undefined);
  }

  hangUp(): void {
    this.#hangUp.abort();
  }

  async until(step: string): Promise<void> {
    const reached = (event: DeployEvent) => event.event === 'step' && event.step === step;
    await waitFor(() => this.#events.some(reached), { what: `step ${step}` });
  }

  untilLine(pattern: RegExp): Promise<string> {
    const lines = () => this.#events.flatMap((event) => (event.event === 'log' ? [event.line] : []));
    return waitFor(() => lines().find((line) => pattern.test(line)), { what: `a line like ${pattern}` });
  }

  async #watch(sluice: Sluice, app: string, files: Files): Promise<DeployEvent> {
    for await (const event of sluice.watchDeploy(app, files, this.#hangUp.signal)) {
      this.#events.push(event);
    }
    return this.#events.at(-1) as DeployEvent;
  }
}

function states(releases: { number: number; state: string }[]): Record<number, string> {
  return Object.fromEntries(releases.map(({ number, state }) => [number, state]));
}

async function buildLog(sluice: Sluice, app: string, release: number): Promise<string> {
  return (await sluice.request(`/v1/apps/${app}/releases/${release}/log`)).text();
}
