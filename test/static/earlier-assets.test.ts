import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { ExecBoot } from '../../src/protocol/worker.ts';
import { startOfCommand } from '../../src/runner/generation/worker-starter.ts';
import { fetchText } from '../support/http.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const file = fileURLToPath(new URL('../../src/static/earlier-assets.cjs', import.meta.url));

const files = [
  { name: 'entry.8c1b2a3d.js', mode: 0o444, body: 'earlier' },
  { name: 'builds/meta/0b1c8c1a-6f8d-4b6e-9d0b-1a2b3c4d5e6f.json', mode: 0o444, body: 'earlier' },
  { name: 'builds/latest.json', mode: 0o444, body: 'app' },
  { name: 'own.8c1b2a3d.js', mode: 0o644, body: 'app' },
  { name: 'none.8c1b2a3d.js', mode: undefined, body: 'app' },
];

test('files with a hash and without write permissions are sent, and the app answers all other requests', async (t) => {
  const directory = await temporaryDirectory(t);
  for (const { name, mode } of files) {
    if (mode === undefined) continue;
    mkdirSync(dirname(join(directory, name)), { recursive: true });
    writeFileSync(join(directory, name), 'earlier');
    chmodSync(join(directory, name), mode);
  }
  process.env['SLUICE_EARLIER_ASSETS'] = JSON.stringify([{ directory, url: '/_nuxt/' }]);
  createRequire(import.meta.url)(file);
  const server = createServer((_request, response) => response.end('app')).listen(0);
  await once(server, 'listening');
  t.after(() => server.close());
  const { port } = server.address() as { port: number };
  for (const { name, body } of files)
    assert.equal((await fetchText(port, `/_nuxt/${name}`)).body, body, name);
});

test('processes of a command load the file, and pass it on to their children', () => {
  const variable = { SLUICE_EARLIER_ASSETS: '[]' };
  const start = (env: Record<string, string>) =>
    startOfCommand(
      { node: process.execPath, env, stopSignal: null, shutdownWithMessage: false },
      'node app.js',
      {} as ExecBoot,
    ).env;
  assert.ok(start(variable)['NODE_OPTIONS']?.includes(file));
  assert.ok(start(variable)['SLUICE_NODE_OPTIONS']?.includes(file));
  assert.ok(!start({})['NODE_OPTIONS']?.includes(file));
  const says = 'console.log(process.env.SLUICE_EARLIER_ASSETS, process.execArgv.includes("--require"))';
  const run = (env: Record<string, string>) =>
    spawnSync(process.execPath, ['--require', file, '-e', says], { env, encoding: 'utf8' }).stdout;
  assert.equal(run(variable), 'undefined false\n');
  assert.equal(run({ ...variable, SLUICE_WORKER: '{}' }), '[] true\n');
});
