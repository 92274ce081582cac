import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answering } from '../support/apps.ts';
import { cli } from '../support/cli.ts';
import { startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';
import { wholeFile } from '../support/whole-file.ts';

const sluice = await startSluice(wholeFile);
const run = (...args: string[]) => cli(args, { env: { SLUICE_HOME: sluice.home } });

const fine = { 'fine.sh': 'sleep 600' };

test('a background process that ends at once does not reject the deploy, which ends with a note', async () => {
  const processes = { fine: 'sh fine.sh', worker: 'sh worker.sh' };
  const release = await sluice.deploy('shop', {
    ...answering('shop', { settleTime: '3s', processes }),
    ...fine,
    'worker.sh': 'echo "no queue" >&2; exit 3',
  });
  assert.equal(release.state, 'live');
  const found = release.notices.filter(({ code }) => code === 'process_fails');
  assert.equal(found.length, 1);
  assert.match(
    found[0]?.message ?? '',
    /^the release is live, but a background process fails: worker\.0 ended with exit status 3 after .*, and Sluice starts it again$/,
  );
  assert.equal(found[0]?.hint, 'Read its output: `sluice logs shop --worker worker`');
  const log = await (await sluice.request('/v1/apps/shop/releases/1/log')).text();
  assert.match(log, /note: the release is live, but a background process fails.*\n(.*\n)*live: /);
  const list = await waitFor(async () => {
    const { stdout } = await run('list');
    return stdout.includes('worker') && stdout;
  });
  assert.match(list, /\nshop +running, worker\.0 (fails|crashed) +1 +1 /);
  assert.match(
    (await run('describe', 'shop')).stdout,
    /worker\.0 ended with exit status 3.*\n {2}\| no queue\n/,
  );
});

test('processes that run or have ended as they should leave no note and no mark', async () => {
  const processes = { fine: 'sh fine.sh', once: { command: 'sh once.sh', autorestart: false } };
  const release = await sluice.deploy('calm', {
    ...answering('calm', { processes }),
    ...{ ...fine, 'once.sh': 'exit 0' },
  });
  assert.deepEqual(release.notices, []);
  const { stdout } = await waitFor(async () => {
    const { background } = await sluice.status('calm');
    return background.some(({ state }) => state === 'stopped') && run('list');
  });
  assert.match(stdout, /\ncalm +running +1 +1 /);
});
