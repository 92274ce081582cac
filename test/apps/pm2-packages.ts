import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { EnvironmentStatus } from '../../src/protocol/runner.ts';
import { appLog } from '../support/app-log.ts';
import { fetchText } from '../support/http.ts';
import { TestRunner } from '../support/runner.ts';
import { waitFor } from '../support/wait.ts';

const packages = ['@pm2/io@6.1.0', 'pmx@1.6.8', 'pm2@7.0.4'];

let directory: string;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'sluice-pm2-'));
  await writeFile(join(directory, 'package.json'), '{}');
  const { status, stderr } = spawnSync('npm', ['install', '--no-audit', '--no-fund', ...packages], {
    cwd: directory,
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
});

after(() => rm(directory, { recursive: true, force: true }));

const serve = `
  require('node:http').createServer((request, response) => response.end('serves')).listen(process.env.PORT);
`;

/** Apps that declare the same metrics. */
const declaring = {
  '@pm2/io': `
    const io = require('@pm2/io');
    io.metric({ name: 'Users', unit: 'people' }).set(12);
    io.counter({ name: 'Jobs' }).inc(2);
    io.histogram({ name: 'Latency', measurement: 'mean' }).update(10);
    io.meter({ name: 'Sales' }).mark();
    io.action('clean', (reply) => reply({}));
    io.notifyError(new Error('of a test'));
  `,
  pmx: `
    const pmx = require('pmx').init({ http: true, network: true, ports: true });
    const probe = pmx.probe();
    probe.metric({ name: 'Users', unit: 'people', value: () => 12 });
    probe.counter({ name: 'Jobs' }).inc(2);
    probe.histogram({ name: 'Latency', measurement: 'mean' }).update(10);
    probe.meter({ name: 'Sales' }).mark();
    pmx.action('clean', (reply) => reply({}));
    pmx.notify(new Error('of a test'));
  `,
};

/** The sample of PM2's documentation. */
const connecting = `
  const pm2 = require('pm2');
  pm2.connect((error) => {
    if (error) {
      console.error(error);
      process.exit(2);
    }
    pm2.list((failed, list) => {
      console.log('listed', list.map(({ pid }) => pid === process.pid).join());
      pm2.disconnect();
    });
  });
`;

async function statusOf(runner: TestRunner): Promise<EnvironmentStatus> {
  const [status] = await runner.client.call('status', {});
  assert.ok(status);
  return status;
}

/** Starts an app with this source. Its home cannot be written. */
async function release(runner: TestRunner, source: string, asBackground = false) {
  const script = join(directory, `${asBackground ? 'background' : 'app'}.cjs`);
  await writeFile(script, source);
  const env = { HOME: '/proc/no-home' };
  if (!asBackground) {
    const spec = { ...runner.spec('', { workers: 1, stuckTimeout: 400 }, env), directory, script };
    await runner.release(spec);
    return spec;
  }
  const common = { name: 'job', count: 1, nodeArgs: [], args: [], overlap: false };
  const spec = { ...runner.spec('plain.cjs', { workers: 1 }), background: [{ ...common, script, env }] };
  await runner.release(spec);
  return spec;
}

for (const [name, source] of Object.entries(declaring)) {
  test(`the metrics that an app declares with ${name} appear in its status, and the app ends in time`, async (t) => {
    const runner = await TestRunner.start(t);
    const spec = await release(runner, source + serve);
    assert.equal((await fetchText(runner.port)).body, 'serves');
    const all = async () => {
      const [worker] = (await statusOf(runner)).workers;
      const metrics = new Map(worker?.metrics.map((metric) => [metric.name, metric]));
      return ['Users', 'Jobs', 'Latency', 'Sales'].every((each) => metrics.has(each)) && metrics;
    };
    const metrics = await waitFor(all, { what: 'the metrics' });
    assert.deepEqual(
      ['Users', 'Jobs', 'Latency'].map((each) => Number(metrics.get(each)?.value)),
      [12, 2, 10],
    );
    const { workers, crash } = await statusOf(runner);
    assert.deepEqual([workers[0]?.restarts, crash], [0, null]);
    await runner.client.call('stop', { key: 'shop' });
    assert.ok((await appLog(spec.log.directory)).every(({ text }) => !text.includes('killed')));
  });

  test(`a background process with ${name} that has nothing left to do ends by itself`, async (t) => {
    const runner = await TestRunner.start(t);
    const spec = await release(runner, source, true);
    const ended = async () =>
      (await appLog(spec.log.directory)).some(({ text }) => /ended with exit status 0/.test(text));
    await waitFor(ended, { what: 'the end of the process' });
  });
}

for (const asBackground of [false, true]) {
  const kind = asBackground ? 'a background process' : 'a worker';
  test(`${kind} that connects to PM2 lists itself, and starts no daemon`, async (t) => {
    const runner = await TestRunner.start(t);
    const spec = await release(runner, connecting + (asBackground ? '' : serve), asBackground);
    const lines = async () => (await appLog(spec.log.directory)).map(({ text }) => text);
    const listed = async () => (await lines()).find((text) => text.startsWith('listed'));
    assert.equal(await waitFor(listed, { what: 'the list' }), 'listed true');
    // The home cannot be written, so a daemon would have failed with an error.
    assert.deepEqual(
      (await lines()).filter((text) => /[Ee]rror|\bE[A-Z]{4,}\b|[Dd]aemon/.test(text)),
      [],
    );
  });
}
