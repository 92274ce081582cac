import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { cli } from '../support/cli.ts';
import { freePort } from '../support/free-port.ts';
import { fetchText } from '../support/http.ts';
import { startSluice } from '../support/server.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { wholeFile } from '../support/whole-file.ts';

const program = fileURLToPath(new URL('../support/fake-pm2.cjs', import.meta.url));
const sluice = await startSluice(wholeFile);

/** Starts a PM2 that has an app on a port. @param stubborn does not stop the app */
async function startPm2(t: TestContext, { stubborn = false } = {}) {
  const directory = await temporaryDirectory(t);
  const home = await mkdtemp(join(directory, 'pm2-'));
  await writeFile(join(directory, 'package.json'), '{"engines":{"node":">=18"}}');
  await writeFile(
    join(directory, 'server.js'),
    "require('node:http').createServer((request, response) => response.end('sluice')).listen(process.env.PORT);",
  );
  const port = await freePort();
  const env = { PATH: `${home}:${process.env['PATH']}`, PM2_HOME: home };
  const args = [program, home, directory, String(port), ...(stubborn ? ['stubborn'] : [])];
  const argv0 = `PM2 v7.0.4: God Daemon (${home})`;
  const daemon = spawn(process.execPath, args, { argv0, env, stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => daemon.kill('SIGKILL'));
  await once(daemon.stdout, 'data');
  const call = (...options: string[]) =>
    cli(['import', 'pm2', '--nginx-config', '/nonexistent', ...options], {
      env: { SLUICE_HOME: sluice.home, PM2_HOME: home, XDG_CONFIG_HOME: home },
    });
  return { port, call, answer: async () => (await fetchText(port)).body };
}

test('an app takes the port of PM2, and gives the port back', async (t) => {
  const { call, answer, port } = await startPm2(t);
  t.after(() => sluice.call('DELETE', '/v1/apps/shop?confirm=shop'));
  assert.equal(await answer(), 'pm2');
  const created = await call();
  assert.equal(created.code, 0, created.stdout + created.stderr);
  assert.match(
    created.stdout,
    /PM2 still serves the app\. To take over its traffic: sluice import pm2 --app shop --apply/,
  );
  assert.equal(await answer(), 'pm2');
  assert.equal(await sluice.get('shop'), 'sluice');

  const taken = await call('--apply');
  assert.equal(taken.code, 0, taken.stdout + taken.stderr);
  assert.match(taken.stdout, new RegExp(`shop has port ${port}: connections were refused for \\d+ ms`));
  assert.match(taken.stdout, /PM2 has stopped shop/);
  assert.equal(await answer(), 'sluice');
  assert.equal((await sluice.status('shop')).port, port);

  const undone = await call('--undo', 'shop');
  assert.equal(undone.code, 0, undone.stdout + undone.stderr);
  assert.equal(await answer(), 'pm2');
  assert.equal((await sluice.status('shop')).state, 'stopped');
  const retaken = await call('--apply');
  assert.equal(retaken.code, 0, retaken.stdout + retaken.stderr);
  assert.equal(await answer(), 'sluice');
  assert.equal((await call('--undo', 'shop')).code, 0);
  const again = await call('--undo', 'shop');
  assert.equal(again.code, 1);
  assert.match(again.stderr, /there is no record of a takeover of shop/);
});

test('if PM2 does not give up its port, PM2 keeps serving the app', async (t) => {
  const { call, answer, port } = await startPm2(t, { stubborn: true });
  t.after(() => sluice.call('DELETE', '/v1/apps/shop?confirm=shop'));
  const { code, stdout, stderr } = await call('--apply');
  assert.equal(code, 1, stdout);
  assert.match(
    stderr,
    new RegExp(`shop did not get port ${port}: another program kept port ${port} on :: for 10 s`),
  );
  assert.match(stderr, /PM2 serves the app again/);
  assert.equal(await answer(), 'pm2');
  assert.notEqual((await sluice.status('shop')).port, port);
  assert.equal(await sluice.get('shop'), 'sluice');
});
