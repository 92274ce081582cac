import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';

/** Program that makes the API and answers a request, as the server does, and prints the large modules of Node.js that this loads. */
const program = `
  import { once } from 'node:events';
  import { createKoa } from '${import.meta.resolve('../../src/api/koa.ts')}';
  import '${import.meta.resolve('../../src/server/run-server.ts')}';
  import { http, koaRouter, omitResponse } from '${import.meta.resolve('../../src/system/process/footprint.ts')}';
  omitResponse();
  koaRouter();
  const log = new Proxy({}, { get: () => () => undefined });
  const app = createKoa(log).use((ctx) => { ctx.body = 'answer'; });
  const server = http.createServer(app.callback()).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  const [response] = await once(http.get({ host: '127.0.0.1', port }), 'response');
  const chunks = await Array.fromAsync(response);
  const loaded = process.moduleLoadList.filter((name) => /undici|http2/.test(name));
  console.log(JSON.stringify({ answer: chunks.join(''), loaded }));
  process.exit();
`;

test('the server does not load the modules of Node.js that take the most memory', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', program]);
  assert.deepEqual(JSON.parse(stdout), { answer: 'answer', loaded: [] });
});
