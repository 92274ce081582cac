import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { AppError } from '../../src/errors/app-error.ts';
import { appLog } from '../support/app-log.ts';
import { fetchText } from '../support/http.ts';
import { apps } from '../support/runner.ts';
import { startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';

test('an app that uses node:cluster goes live in exec mode as one worker, and starts in this mode from then on', async (t) => {
  const sluice = await startSluice(t);
  const primary = await readFile(join(apps, 'cluster.cjs'), 'utf8');
  const files = {
    'server.js': `if (require('node:cluster').isPrimary) console.log('starts');\n${primary}`,
    'plain.cjs': await readFile(join(apps, 'plain.cjs'), 'utf8'),
    'sluice.json': { settleTime: 100, workers: 2 },
  };
  const { notices } = await sluice.deploy('shop', files);
  assert.deepEqual(
    notices.map(({ code }) => code),
    ['cluster_in_exec_mode'],
  );
  const { port, workers, exec } = await sluice.status('shop');
  assert.equal(workers.length, 1);
  assert.match(exec?.reason ?? '', /node:cluster/);
  assert.equal((await fetchText(port)).status, 200);
  await sluice.call('POST', '/v1/apps/shop/restart');
  assert.equal((await fetchText(port)).status, 200);
  const { logs } = sluice.paths.environment({ app: 'shop', environment: 'production' });
  // The first boot was not in exec mode; the second one and the restart were.
  await waitFor(async () => (await appLog(logs)).filter(({ text }) => text === 'starts').length === 3);
});

test('an app whose primary process of node:cluster listens itself is refused', async (t) => {
  const sluice = await startSluice(t);
  const broken = await readFile(join(apps, 'broken.cjs'), 'utf8');
  const files = {
    'server.js': `process.env.HOW = 'cluster-sticky';\n${broken}`,
    'sluice.json': { settleTime: 100 },
  };
  await assert.rejects(sluice.deploy('shop', files), (error: AppError) => {
    assert.equal(error.code, 'boot_cluster');
    assert.match(error.message, /primary process/);
    return true;
  });
});
