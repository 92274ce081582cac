import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import type { GenerationSpec } from '../../src/protocol/runner.ts';
import { fetchText } from '../support/http.ts';
import { TestRunner } from '../support/runner.ts';
import { waitFor } from '../support/wait.ts';

/** Sends requests one after the other until the end of the test, whatever becomes of them. */
function traffic(t: TestContext, runner: TestRunner): void {
  const stopped = new AbortController();
  const send = async () => {
    while (!stopped.signal.aborted)
      await fetchText(runner.port, '/work', { signal: AbortSignal.timeout(1000) }).catch(() => undefined);
  };
  const sending = Promise.all([send(), send(), send(), send()]);
  t.after(async () => {
    stopped.abort();
    await sending;
  });
}

async function deploy(runner: TestRunner, spec: GenerationSpec): Promise<number> {
  const { generation } = await runner.boot(spec);
  await runner.client.call('switch', { key: spec.key, generation, watch: true });
  return generation;
}

function generationFile({ paths }: GenerationSpec) {
  return JSON.parse(readFileSync(paths.generation, 'utf8'));
}

/** Deploys a release with a fault, and returns the time from its switch to the end of the return, in ms. */
async function revertOf(t: TestContext, fault: string, settings: object): Promise<string> {
  const runner = await TestRunner.start(t);
  const all = { workers: 2, watchTime: '30s', ...settings };
  const good = runner.spec('worse.cjs', all);
  await deploy(runner, good);
  traffic(t, runner);
  await waitFor(async () => (await fetchText(runner.port, '/')).body === String(good.release));
  const bad = runner.spec('worse.cjs', all, { FAULT: fault, DELAY: '300' });
  const generation = await deploy(runner, bad);
  const start = performance.now();
  await runner.client.call('watched', { key: bad.key, generation });
  t.diagnostic(`${fault}: reverted after ${Math.round(performance.now() - start)} ms`);
  const { release, reverted } = generationFile(good);
  assert.equal(release, good.release);
  assert.equal(reverted.release, bad.release);
  await waitFor(async () => (await fetchText(runner.port, '/')).body === String(good.release));
  const [status] = await runner.client.call('status', {});
  assert.equal(status?.standby, null);
  return reverted.reason;
}

test('a release that answers 500 to one of three requests is reverted', async (t) => {
  assert.match(
    await revertOf(t, 'errors', { keepWarm: '60s' }),
    /^3\d(?:\.\d)? % of the last \d+ responses have/,
  );
});

test('a release whose workers die is reverted, also if the release before is not on standby', async (t) => {
  assert.match(await revertOf(t, 'dies', { keepWarm: '60s' }), /workers have died within/);
  assert.match(await revertOf(t, 'dies', { keepWarm: 0, workers: 1 }), /^a worker has died within/);
});

test('a release whose event loop stands still is reverted', async (t) => {
  assert.match(
    await revertOf(t, 'blocks', { keepWarm: '60s' }),
    /^the event loop of a worker has stood still/,
  );
});

test('a release that is not worse stays, and another switch ends the watch', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = () => runner.spec('worse.cjs', { keepWarm: '60s', watchTime: 700 });
  await deploy(runner, spec());
  traffic(t, runner);
  const second = spec();
  await runner.client.call('watched', { key: 'shop', generation: await deploy(runner, second) });
  assert.equal(generationFile(second).release, second.release);
  assert.equal(generationFile(second).reverted, undefined);
  const generation = await deploy(runner, runner.spec('worse.cjs', { keepWarm: '60s', watchTime: '60s' }));
  const watched = runner.client.call('watched', { key: 'shop', generation });
  await runner.release(spec());
  await watched;
});
