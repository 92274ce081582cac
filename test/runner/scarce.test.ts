import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { test } from 'node:test';
import type { GenerationSpec, JobSpec } from '../../src/protocol/runner.ts';
import { withDeadline } from '../../src/system/concurrency/deadline.ts';
import { signalProcess } from '../../src/system/process/processes.ts';
import { managesCgroups, noLimits } from '../support/cgroups.ts';
import { type CallFault, FailingCalls } from '../support/failing-calls.ts';
import { fetchText } from '../support/http.ts';
import { Random } from '../support/random.ts';
import { apps, TestRunner } from '../support/runner.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

/** SLUICE_TEST_CALLS=all makes each call fail in each way; else SLUICE_TEST_SEED picks a sample. */
const isExhaustive = process.env['SLUICE_TEST_CALLS'] === 'all';
const random = new Random(Number(process.env['SLUICE_TEST_SEED'] ?? 1));
const sampleSize = 6;
/** Calls in event listeners and timers, which have ended the runner: they are always in the sample. */
const always = ['accept ', 'readFile runner/cgroups/tree.ts', 'readdir system/processes.ts'];

test('a call of the runner to the system fails, once or for a while: the runner and its apps live on, and the runner recovers (thorough)', {
  skip: process.platform !== 'linux',
  timeout: 3_600_000,
}, async (t) => {
  const calls = new FailingCalls(await temporaryDirectory(t));
  const runner = await TestRunner.start(t, { ...calls.env, ...(noLimits() === false ? managesCgroups : {}) });
  await runner.release(spec(runner));
  // The cron is due each second.
  await live(runner, async () =>
    (await calls.places()).some(({ place }) => place.includes('cron-results.ts')),
  );
  const places = await calls.places();
  assert.ok(places.length > 20, `only ${places.length} places make calls`);
  const all = places.flatMap(({ place, needsDescriptor }) =>
    codesFor(needsDescriptor).flatMap((code) => [false, true].map((lasts) => ({ place, code, lasts }))),
  );
  const known = all.filter(
    ({ place, code, lasts }) => lasts && code === 'EMFILE' && always.some((start) => place.startsWith(start)),
  );
  const sample = Array.from({ length: sampleSize }, () => random.pick(all));
  const chosen = isExhaustive ? all : [...known, ...sample];
  let failed = 0;
  for (const fault of chosen) {
    const what = `${fault.place} ${fault.lasts ? 'fails' : 'fails once'} with ${fault.code}`;
    await calls.fail(fault);
    await live(runner, () => calls.isMet()).catch(() => undefined);
    if (await calls.isMet()) failed += 1;
    await calls.mend();
    assert.equal(runner.process.exitCode ?? runner.process.signalCode, null, `${what}: ${lastLines(runner)}`);
    await recover(runner, what);
  }
  t.diagnostic(`${failed} of ${chosen.length} faults of ${places.length} places were met`);
});

function codesFor(needsDescriptor: boolean): CallFault['code'][] {
  return needsDescriptor ? ['EMFILE', 'ENFILE', 'ENOMEM', 'EAGAIN'] : ['ENOMEM', 'EIO'];
}

function spec(runner: TestRunner): GenerationSpec {
  const settings = {
    ...{ workers: 1, restartDelay: 50, drainTimeout: 500, killTimeout: 500 },
    cron: [{ schedule: '* * * * * *', command: 'true' }],
  };
  const background = {
    ...{ name: 'mailer', script: `${apps}background.cjs`, args: [], nodeArgs: [] },
    ...{ env: { SPANS: `${runner.paths.home}/spans` }, count: 1, overlap: false },
  };
  return { ...runner.spec('plain.cjs', settings), background: [background] };
}

/**
 * What a runner does: it checks its processes, replaces dead ones, switches, runs a job, and takes connections.
 * @param isEnough true if the calls of interest have been made
 */
async function live(runner: TestRunner, isEnough: () => Promise<boolean>): Promise<void> {
  const { client, paths } = runner;
  const bounded = async <T>(work: Promise<T>) => {
    work.catch(() => undefined);
    return (await withDeadline(work, 4000)).timedOut;
  };
  const [status] = await client.call('status', {});
  for (const { pid } of [...(status?.workers ?? []), ...(status?.background ?? [])])
    if (pid !== null) signalProcess(pid, 'SIGKILL');
  const job: JobSpec = {
    ...{
      argv: ['/bin/echo', 'done'],
      directory: apps,
      env: {},
      user: null,
      lowPriority: true,
      timeout: 5000,
    },
  };
  for (const path of [paths.orphanSocket, paths.runnerSocket])
    connect(path)
      .on('error', () => undefined)
      .destroy();
  // Each of these may fail, or never end: what counts is what comes after.
  await bounded(client.call('job', { job })).catch(() => undefined);
  await bounded(runner.release(spec(runner))).catch(() => undefined);
  await waitFor(isEnough, { timeout: 2000 }).catch(() => undefined);
}

async function recover(runner: TestRunner, what: string): Promise<void> {
  await waitFor(
    async () => {
      const next = spec(runner);
      await runner.release(next).catch(() => undefined);
      const answer = await fetchText(runner.port).catch(() => undefined);
      const status = (await runner.client.call('status', {}))[0];
      const workers = status?.workers.filter(({ state }) => state === 'open') ?? [];
      return answer?.body === String(next.release) && workers.length === 1;
    },
    { what: `a release after ${what}`, interval: 200, timeout: 30_000 },
  );
}

function lastLines({ output }: TestRunner): string {
  return output.split('\n').slice(-40).join('\n');
}
