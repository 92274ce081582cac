import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answering } from '../support/apps.ts';
import { managesCgroups, noLimits } from '../support/cgroups.ts';
import { startSluice } from '../support/server.ts';

const skip = noLimits();

test('a build that exceeds buildMemory fails with its own error, and the app continues', {
  skip,
}, async (t) => {
  const sluice = await startSluice(t, { env: managesCgroups, settings: { buildMemory: '200M' } });
  const live = await sluice.deploy('shop', answering('live'));
  assert.equal(live.state, 'live');
  const eats = 'const all = []; for (;;) all.push(Buffer.alloc(16 * 1024 ** 2, 1))';
  const build = sluice.deploy('shop', {
    ...answering('never'),
    'eat.js': eats,
    'package.json': { name: 'app', scripts: { build: 'node eat.js', start: 'node server.js' } },
  });
  await assert.rejects(build, {
    code: 'build_out_of_memory',
    message:
      /^the kernel killed `npm run --prefix=\. build` or one of its processes: it exceeded 200 MiB \("buildMemory"\)/,
  });
  const app = await sluice.status('shop');
  assert.deepEqual(
    { state: app.state, release: app.release, crash: app.crash },
    { state: 'running', release: live.number, crash: null },
  );
  const { runner } = await sluice.call<{ runner: { limits: unknown } }>('GET', '/v1/status');
  assert.deepEqual(runner.limits, {
    version: 1,
    wanted: true,
    effective: ['memory', 'cpu', 'pids'],
    missing: [],
    reason: null,
  });
});
