import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { lstat, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { cli } from '../support/cli.ts';
import { Isolated, idsOf, withoutRoot } from '../support/isolated.ts';
import type { Files } from '../support/pack.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const files: Files = {
  'sluice.json': { shared: ['data'], settleTime: 100, workers: 1 },
  'server.js': `
    const fs = require('node:fs');
    fs.appendFileSync('data/starts', 'x');
    require('node:http').createServer((_, response) => response.end(fs.readFileSync('data/starts'))).listen(process.env.PORT);`,
};

const restore = ({ sluice }: { sluice: { home: string } }, file: string) =>
  cli(['restore', file], { env: { SLUICE_HOME: sluice.home } });

async function backup(t: TestContext): Promise<string> {
  const { sluice } = await Isolated.start(t);
  await sluice.deploy('shop', files);
  const file = join(await temporaryDirectory(t), 'backup.tar.gz');
  const { code, stderr } = await cli(['backup', file], { env: { SLUICE_HOME: sluice.home } });
  assert.equal(code, 0, stderr);
  await sluice.call('POST', '/v1/apps/shop/stop');
  return file;
}

test('what is restored belongs to the users that it belongs to here, and runs as them', {
  skip: withoutRoot,
  timeout: 180_000,
}, async (t) => {
  const file = await backup(t);
  const isolated = await Isolated.start(t, async (sluice) => {
    const { code, stderr } = await restore({ sluice }, file);
    assert.equal(code, 0, stderr);
    // Each test server makes a token of that name for itself.
    await rm(sluice.paths.tokens);
  });
  const { sluice, owner } = isolated;
  await sluice.untilRunning('shop');
  assert.equal(await sluice.get('shop'), 'xx');
  const { uid } = await idsOf(`${owner}_shop`);
  const shop = sluice.paths.target({ app: 'shop', environment: 'production' });
  assert.equal((await lstat(join(shop.shared, 'data/starts'))).uid, uid);
  assert.equal((await lstat(shop.state)).uid, isolated.uid);
});

test('an app is not restored to a user who has its name and is somebody else’s', {
  skip: withoutRoot,
  timeout: 180_000,
}, async (t) => {
  const file = await backup(t);
  const isolated = await Isolated.start(t);
  await isolated.sluice.stop();
  isolated.runner.kill('SIGTERM');
  await promisify(execFile)('useradd', ['--system', '--user-group', `${isolated.owner}_shop`]);
  const { code, stderr } = await restore(isolated, file);
  assert.equal(code, 1);
  assert.match(stderr, new RegExp(`the system user ${isolated.owner}_shop is not that of shop in `));
  await assert.rejects(lstat(isolated.sluice.paths.app('shop')), { code: 'ENOENT' });
});
