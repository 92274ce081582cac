import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fetchText } from '../support/http.ts';
import { apps, isAppNodeFrom, TestRunner } from '../support/runner.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

const script = join(apps, 'contract.cjs');

async function ask(runner: TestRunner, path = '/'): Promise<Record<string, unknown>> {
  return JSON.parse((await fetchText(runner.port, path)).body) as Record<string, unknown>;
}

test('the app sees itself as if node had started it', async (t) => {
  const runner = await TestRunner.start(t);
  const spec = runner.spec('contract.cjs', { workers: 1 });
  await runner.release({
    ...spec,
    nodeArgs: ['--no-warnings'],
    args: ['--color', 'red'],
  });
  const seen = await ask(runner);
  assert.equal(seen['main'], script);
  assert.deepEqual(seen['argv'], [spec.node, script, '--color', 'red']);
  assert.deepEqual(seen['execArgv'], ['--no-warnings']);
  assert.equal(seen['instance'], '0');
  assert.equal(seen['port'], String(runner.port));
  // The mark by which the runner finds the app's child processes.
  assert.deepEqual(seen['ours'], ['SLUICE_JOB']);
  assert.deepEqual(seen['address'], { address: '::', family: 'IPv6', port: runner.port });
});

test("with waitReady, the app is ready when it calls process.send('ready')", async (t) => {
  const runner = await TestRunner.start(t);
  const { bootMs } = await runner.boot(runner.spec('contract.cjs', { workers: 1, waitReady: true }));
  assert.ok(bootMs >= 200, `ready after ${bootMs} ms, though the app says so after 200 ms`);
});

test('processes and threads of the app run without our bootstrap', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('contract.cjs', { workers: 1 }));
  assert.deepEqual(await ask(runner, '/child'), { execArgv: [], bootstrapped: false });
  assert.equal((await fetchText(runner.port, '/thread')).body, 'setupListenHandle');
});

test('the thread of a module loader runs without our bootstrap', async (t) => {
  const runner = await TestRunner.start(t);
  const directory = await temporaryDirectory(t);
  const [loader, found] = [join(directory, 'loader.mjs'), join(directory, 'found')];
  await writeFile(
    loader,
    `import { writeFileSync } from 'node:fs';
     import net from 'node:net';
     import { isMainThread } from 'node:worker_threads';
     // Before Node.js 20 it runs in the main thread.
     if (!isMainThread) writeFileSync(${JSON.stringify(found)}, net.Server.prototype._listen2.name + process.env.SLUICE_WORKER);
     export const resolve = (specifier, context, next) => next(specifier, context);`,
  );
  const nodeArgs = ['--experimental-loader', loader];
  await runner.release({ ...runner.spec('contract.cjs', { workers: 1 }), nodeArgs });
  if (isAppNodeFrom(20, 0)) assert.equal(await readFile(found, 'utf8'), 'setupListenHandleundefined');
  assert.equal((await fetchText(runner.port, '/thread')).body, 'setupListenHandle');
});

test('the app sees neither our messages nor the death of the runner, and process.send still works', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('contract.cjs', { workers: 1 }));
  assert.equal((await fetchText(runner.port, '/send')).body, 'null');
  const { pid } = await ask(runner);
  await runner.kill();
  await waitFor(async () => (await fetchText(runner.port, '/send')).body === 'null');
  const seen = await ask(runner);
  assert.deepEqual(
    [seen['messages'], seen['disconnected'], seen['errors'], seen['connected']],
    [[], 0, [], true],
  );
  assert.equal(seen['pid'], pid);
  await runner.launch();
  await runner.release(runner.spec('plain.cjs'));
});
