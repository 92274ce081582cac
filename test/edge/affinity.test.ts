import assert from 'node:assert/strict';
import { test } from 'node:test';
import { running } from '../support/apps.ts';
import { askHost } from '../support/https.ts';
import { machineWithNginx } from '../support/nginx.ts';
import { startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';

const app = `require('node:http')
  .createServer((request, response) => response.end(process.pid + ' ' + request.socket.remotePort))
  .listen(process.env.PORT);`;
const addresses = Array.from({ length: 12 }, (_, index) => `127.0.0.${index + 2}`);

test('behind nginx, all requests of a client reach the same worker as long as the live release has affinity (thorough)', async (t) => {
  const machine = await machineWithNginx(t);
  const sluice = await startSluice(t, { apiSocket: machine.apiSocket });
  await machine.serve(sluice.home);
  const name = 'shop.example.com';
  const ask = async (localAddress: string) => {
    const { status, body } = await askHost(machine.https, name, '/', { localAddress });
    assert.equal(status, 200);
    const [pid = '', port = ''] = body.split(' ');
    return { pid, port };
  };
  const pids = async () => (await Promise.all(addresses.map(ask))).map(({ pid }) => pid);
  const perClient = { workers: 3, affinity: 'client' as const, settleTime: 100 };
  await sluice.deploy('shop', running(app, perClient));
  await sluice.call('POST', '/v1/domains', { name, app: 'shop', certificate: 'self-signed' });
  const first = await pids();
  assert.equal(new Set(first).size, 3);
  for (let round = 0; round < 5; round += 1) assert.deepEqual(await pids(), first);

  const isReused = async () => {
    const ports = new Set<string>();
    for (let count = 0; count < 10; count += 1) ports.add((await ask('127.0.0.2')).port);
    return ports.size < 10;
  };
  assert.equal(await isReused(), false);
  await sluice.deploy('shop', running(app, { workers: 1, settleTime: 100 }));
  await waitFor(isReused, { what: 'connections that nginx keeps' });
  await sluice.deploy('shop', running(app, perClient));
  await waitFor(async () => !(await isReused()), { what: 'a connection for each request' });
  const last = await pids();
  assert.equal(new Set(last).size, 3);
  assert.deepEqual(await pids(), last);
});
