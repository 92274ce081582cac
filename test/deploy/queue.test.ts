import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { DeployQueue, type QueuedDeploy } from '../../src/apps/deploy-queue.ts';
import type { DeployEvent } from '../../src/deploy/events.ts';
import { processStartTime } from '../../src/system/process/processes.ts';
import { answering, answeringOnceThereIs } from '../support/apps.ts';
import type { Files } from '../support/pack.ts';
import { type Sluice, startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';

test('a removal also finds deploys that begin while it ends the others', () => {
  const queue = new DeployQueue();
  const deploy = (number: number) => ({ number }) as QueuedDeploy;
  queue.set(1, deploy(1));
  const found: number[] = [];
  for (const { number } of queue.values()) {
    found.push(number);
    if (number === 1) queue.set(2, deploy(2));
    queue.delete(number);
  }
  assert.deepEqual(found, [1, 2]);
});

test('deploys of one app', async (t) => {
  const sluice = await startSluice(t);

  await t.test('a second deploy waits, and a third supersedes it', async () => {
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

  await t.test('cancelling a build ends all processes that it started', async () => {
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

  await t.test('a client that disconnects after its upload does not cancel the deploy', async () => {
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

/** Deploy that runs while the test does something else. */
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
