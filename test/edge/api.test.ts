import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { join } from 'node:path';
import { test } from 'node:test';
import { WebSocket } from 'ws';
import { answering, answeringOnceThereIs } from '../support/apps.ts';
import { Checkout } from '../support/git.ts';
import { machineWithNginx } from '../support/nginx.ts';
import { pack } from '../support/pack.ts';
import { startSluice } from '../support/server.ts';
import { wholeFile } from '../support/whole-file.ts';

const name = 'deploy.example.com';
const machine = await machineWithNginx(wholeFile);
const sluice = await startSluice(wholeFile, { apiSocket: machine.apiSocket });
await machine.serve(sluice.home);
await sluice.call('POST', '/v1/domains', { name, certificate: 'self-signed' });

const megabytes = (count: number) => randomBytes(count * 1024 ** 2);
const local = `${name}:${machine.https}:127.0.0.1`;

test('a slow upload with a followed build log goes live through nginx', async () => {
  const go = join(sluice.home, 'go');
  const body = await pack({ ...answeringOnceThereIs(go, 'uploaded'), 'large.bin': megabytes(8) });
  const asked = request({
    ...{ host: '127.0.0.1', port: machine.https, servername: name, rejectUnauthorized: false, agent: false },
    ...{ path: '/v1/apps/shop/releases', method: 'POST' },
    headers: { host: name, accept: 'text/plain', authorization: `Bearer ${sluice.token}` },
  });
  const answer = once(asked, 'response');
  const half = Math.floor(body.length / 2);
  asked.write(body.subarray(0, half));
  // The server lists the deploy by now.
  const deploying = async () => (await sluice.status('shop').catch(() => undefined))?.deploying.length === 1;
  while (!(await deploying())) await new Promise(setImmediate);
  asked.end(body.subarray(half));
  const [response] = await answer;
  let text = '';
  for await (const chunk of response) {
    text += chunk;
    // The app boots only after this text, so the log must arrive as it is written.
    if (text.includes('-- boot\n')) await writeFile(go, '');
  }
  assert.match(text, /^release 1 of shop[\s\S]*-- receive[\s\S]*\nlive: /);
  assert.equal(await sluice.get('shop'), 'uploaded');
});

test('a large push goes live through nginx, with its progress as it happens', async (t) => {
  const checkout = await Checkout.create(t, { GIT_SSL_NO_VERIFY: '1', GIT_HTTP_LOW_SPEED_TIME: '20' });
  await checkout.commit('All', { ...answering('pushed'), 'a.bin': megabytes(10), 'b.bin': megabytes(10) });
  const url = `https://git:${sluice.token}@${name}:${machine.https}/git/pushed.git`;
  const pushed = await checkout.try(
    ...['-c', `http.curloptResolve=${local}`, '-c', 'http.postBuffer=65536'],
    ...['push', '--progress', url, 'main'],
  );
  assert.equal(pushed.code, 0, pushed.output);
  assert.match(pushed.output, /-- receive\n[\s\S]*\nlive: /);
  assert.equal(await sluice.get('pushed'), 'pushed');
});

test('a one-off command has its input, output and exit status through nginx', async () => {
  await sluice.deploy('tool', answering('one'));
  const socket = new WebSocket(`wss://127.0.0.1:${machine.https}/v1/apps/tool/run`, {
    ...{ servername: name, rejectUnauthorized: false },
    headers: { host: name, authorization: `Bearer ${sluice.token}` },
  });
  const got: string[] = [];
  socket.on('message', (data: Buffer, isBinary) => {
    got.push(isBinary ? data.subarray(1).toString() : data.toString());
    if (got.at(-1)?.includes('ready')) socket.send(Buffer.from('hello\n'));
  });
  await once(socket, 'open');
  socket.send(JSON.stringify({ run: { command: 'echo ready; read -r x; echo "got $x"; exit 3' } }));
  await once(socket, 'close');
  assert.match(got.join(''), /ready[\s\S]*got hello[\s\S]*"status":3/);
});
