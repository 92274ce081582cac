import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DeployStep } from '../../src/deploy/events.ts';
import { signalProcess } from '../../src/system/process/processes.ts';
import { Load, orderViolations } from '../support/load.ts';
import { movesConnections } from '../support/network.ts';
import { Random } from '../support/random.ts';
import { apps } from '../support/runner.ts';
import { type Sluice, startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';

const rounds = Number(process.env['SLUICE_TEST_ROUNDS'] ?? 5);
const seed = Number(process.env['SLUICE_TEST_SEED'] ?? 1);
const clients = 16;

/** Longest time from the start of a deploy's step to the kill of the runner, in ms. A switch takes as long as a request under
 * way blocks the event loop, 30 ms. */
const instants: readonly { step: DeployStep; within: number }[] = [
  { step: 'receive', within: 500 },
  { step: 'boot', within: 800 },
  { step: 'switch', within: 20 },
  { step: 'switch', within: 100 },
  { step: 'record', within: 30 },
];

test(`the runner is killed at random instants of ${rounds} deploys under load: the order of answers is kept`, {
  timeout: rounds * 30_000,
}, async (t) => {
  t.diagnostic(`seed ${seed}`);
  const random = new Random(seed);
  const sluice = await startSluice(t);
  await sluice.deploy('shop', await files());
  const load = new Load((await sluice.status('shop')).port, clients);
  t.after(() => load.stop());
  let live = 1;
  let succeeded = 0;
  for (let round = 0; round < rounds; round += 1) {
    await answersMore(load);
    const { step, within } = random.pick(instants);
    const release = await deployAndKill(sluice, step, random.below(within * 1000) / 1000);
    if (release !== undefined) {
      succeeded += 1;
      live = release;
    }
    await untilInCare(sluice);
    const answered = Number((await fetch(await urlOf(sluice), noKeepAlive)).headers.get('x-mark'));
    // A release may also be live if the runner died before it could confirm the switch.
    assert.ok(answered >= live, `release ${answered} answers, and ${live} was said to be live`);
    live = answered;
  }
  await answersMore(load);
  const { samples, errors, lost } = await load.stop();
  const violations = orderViolations({ samples });
  t.diagnostic(
    `${samples.length} requests, ${errors.length} lost, ${violations.length} out of order; ${succeeded} of ${rounds} deploys succeeded`,
  );
  assert.deepEqual(violations, []);
  // Where the kernel does not move what waits on a socket that is closed, that is reset.
  if (movesConnections()) assert.deepEqual(lost, []);
});

/** @returns the release if the deploy reported it as live */
async function deployAndKill(sluice: Sluice, step: DeployStep, delay: number): Promise<number | undefined> {
  const pid = await runnerPid(sluice);
  let killed: Promise<void> | undefined;
  const kill = async () => {
    await sleep(delay);
    signalProcess(pid, 'SIGKILL');
  };
  let live: number | undefined;
  for await (const event of sluice.watchDeploy('shop', await files())) {
    if (event.event === 'step' && event.step === step) killed ??= kill();
    if (event.event === 'live') live = event.release.number;
  }
  await (killed ?? kill());
  return live;
}

/** The mark of an answer is the number of the release. */
async function files() {
  const plain = await readFile(join(apps, 'plain.cjs'), 'utf8');
  return {
    'server.js': `process.env.MARK = process.env.SLUICE_RELEASE;\n${plain}`,
    'sluice.json': { settleTime: 100, workers: 2 },
  };
}

const noKeepAlive = { headers: { connection: 'close' } };

async function urlOf(sluice: Sluice): Promise<string> {
  return (await sluice.status('shop')).url;
}

async function answersMore(load: Load): Promise<void> {
  const before = load.answered;
  await waitFor(() => load.answered > before + 2 * clients, { timeout: 60_000, what: 'the load' });
}

/** Waits until a runner supervises the app with all its workers. */
async function untilInCare(sluice: Sluice): Promise<void> {
  await waitFor(
    async () => {
      const { state, workers } = await sluice.status('shop');
      return state === 'running' && workers.filter((worker) => worker.state === 'open').length === 2;
    },
    { timeout: 60_000, what: 'an app in the care of a runner' },
  );
}

async function runnerPid(sluice: Sluice): Promise<number> {
  return waitFor(
    async () => (await sluice.call<{ runner: { pid: number } | null }>('GET', '/v1/status')).runner?.pid,
    { what: 'a runner' },
  );
}
