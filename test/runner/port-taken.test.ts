import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { answering } from '../support/apps.ts';
import { cli } from '../support/cli.ts';
import { startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';

test("if a worker of another home has an app's port, the app's status names it, and the app starts when the port is free", async (t) => {
  const first = await startSluice(t);
  await first.deploy('shop', answering('first'));
  const { port } = await first.status('shop');
  await first.stop();
  const second = await startSluice(t, { settings: { listen: { port: 0 }, apps: { firstPort: port } } });
  await second.deploy('blog', answering('second'));
  const [holder] = (await second.status('blog')).workers;
  assert.equal((await second.status('blog')).port, port);

  await first.up();
  const problem = await waitFor(async () => (await first.status('shop')).problem, { what: 'a reason' });
  assert.equal((await first.status('shop')).state, 'starting');
  assert.deepEqual(
    [problem.code, problem.message],
    [
      'port_taken',
      `port ${port} on 127.0.0.1 is in use by process ${holder?.pid}, a worker of blog of the Sluice in ${second.home}`,
    ],
  );
  assert.match(problem.hint, new RegExp(`SLUICE_HOME=${second.home} \\./install\\.sh --local --stop`));
  const env = { SLUICE_HOME: first.home };
  for (const command of [['status', 'shop'], ['status']])
    assert.match(
      (await cli(command, { env })).stdout,
      /not started .*: port \d+ on 127\.0\.0\.1 is in use by process/,
    );
  assert.match(
    (await cli(['logs', 'shop'], { env })).stdout,
    /release 1 cannot start: port \d+ on .* is in use by process/,
  );
  await assert.rejects(first.call('POST', '/v1/apps/shop/start'), { code: 'port_taken' });

  await second.stop();
  await first.call('POST', '/v1/apps/shop/start');
  const { state, problem: none } = await first.status('shop');
  assert.deepEqual([state, none], ['running', null]);
});

test('if another process has the port, the error names the process (thorough)', async (t) => {
  const sluice = await startSluice(t);
  await sluice.deploy('shop', answering('live'));
  await sluice.call('POST', '/v1/apps/shop/stop');
  const { port } = await sluice.status('shop');
  // Sluice holds the port: only a process of the same user that asks for it can listen there.
  const server = createServer().listen({ port, host: '127.0.0.1', reusePort: true });
  t.after(() => server.close());
  await once(server, 'listening');
  await assert.rejects(sluice.call('POST', '/v1/apps/shop/start'), {
    code: 'port_taken',
    message: new RegExp(`in use by process ${process.pid} \\(.*node `),
  });
});

test('an app that was never live goes live on another port if another process has its port (thorough)', async (t) => {
  const sluice = await startSluice(t);
  await sluice.call('PATCH', '/v1/apps/shop/env', { COLOR: 'red' });
  const { port } = await sluice.status('shop');
  const server = createServer().listen({ port, host: '127.0.0.1', reusePort: true });
  t.after(() => server.close());
  await once(server, 'listening');
  const { url } = await sluice.deploy('shop', answering('live'));
  assert.notEqual(new URL(url).port, String(port));
  assert.equal(await (await fetch(url)).text(), 'live');
});
