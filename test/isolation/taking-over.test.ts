import assert from 'node:assert/strict';
import { lstat, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { Isolated, idsOf, withoutRoot } from '../support/isolated.ts';
import type { Files } from '../support/pack.ts';

const files: Files = {
  'sluice.json': { shared: ['data'], settleTime: 100, workers: 1 },
  'server.js': `
    const fs = require('node:fs');
    fs.appendFileSync('data/starts', process.getuid() + '\\n');
    console.log('started as', process.getuid());
    require('node:http').createServer((_, response) => response.end(fs.readFileSync('data/starts'))).listen(process.env.PORT);`,
};

test('apps of a home without users get users, and their files', {
  skip: withoutRoot,
  timeout: 120_000,
}, async (t) => {
  const isolated = await Isolated.start(t, async (sluice) => {
    await sluice.up({ HOME: sluice.home });
    await sluice.deploy('shop', files);
    await sluice.deploy('shop', files);
    await sluice.stop();
  });
  const { sluice, owner } = isolated;
  const shop = sluice.paths.environment({ app: 'shop', environment: 'production' });
  await sluice.untilRunning('shop');
  const { uid } = await idsOf(`${owner}_shop`);
  const was = `${isolated.uid}\n`;
  assert.equal(await sluice.get('shop'), `${was}${was}${uid}\n`);
  for (const path of [join(shop.release(2).directory, 'server.js'), join(shop.shared, 'data/starts')])
    assert.equal((await lstat(path)).uid, uid, path);

  // Back to the other one, which runs as the same user; the log goes on where it was.
  await sluice.rollback('shop');
  assert.equal(await sluice.get('shop'), `${was}${was}${uid}\n${uid}\n`);
  const log = await (await sluice.request('/v1/apps/shop/logs')).text();
  for (const who of [isolated.uid, uid]) assert.ok(log.includes(`started as ${who}`), log);
  assert.doesNotMatch(await readFile(sluice.paths.log, 'utf8'), /"level":"error"/);
});
