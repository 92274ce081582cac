import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Duplex, Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { PushHook } from '../../src/git/hook.ts';

const script = fileURLToPath(new URL('../../hooks/pre-receive', import.meta.url));
const ref = `${'0'.repeat(40)} ${'1'.repeat(40)} refs/heads/main`;

/** Starts the hook as git does, with the socket of Sluice at descriptor 3. */
function startHook(t: TestContext, refs: string[], env: Record<string, string> = { SLUICE_PUSH: '1' }) {
  const child = spawn(script, { env, stdio: ['pipe', 'pipe', 'pipe', 'pipe'] });
  t.after(() => child.kill('SIGKILL'));
  const [input, , , socket] = child.stdio as unknown as [Writable, never, never, Duplex];
  input.on('error', () => undefined).end(refs.map((line) => `${line}\n`).join(''));
  return { child, socket, hook: new PushHook(socket), output: outputOf(child) };
}

async function outputOf(child: ChildProcess) {
  assert.ok(child.stdout && child.stderr);
  const ended = once(child, 'close');
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  const [code] = await ended;
  return { stdout, stderr, code };
}

test('the hook sends its refs and the quarantine, prints messages, and exits as Sluice decides', async (t) => {
  for (const [accepted, exit] of [
    [true, 0],
    [false, 1],
  ] as const) {
    const { hook, output } = startHook(t, [ref], {
      SLUICE_PUSH: '1',
      GIT_OBJECT_DIRECTORY: '/objects',
      GIT_PUSH_OPTION_0: 'no-cache',
    });
    assert.deepEqual(await hook.request, {
      updates: [{ ref: 'refs/heads/main', old: '0'.repeat(40), new: '1'.repeat(40) }],
      isCut: false,
      options: ['no-cache'],
      quarantine: { GIT_OBJECT_DIRECTORY: '/objects' },
    });
    hook.write('one\n');
    hook.offer('accepted\n\n  two \\n\n');
    hook.answer(accepted);
    assert.deepEqual(await output, { stdout: 'one\naccepted\n\n  two \\n\n', stderr: '', code: exit });
  }
});

test('the hook refuses the push if Sluice ends without a verdict, or has not started git', async (t) => {
  const { socket, hook, output } = startHook(t, [ref]);
  await hook.request;
  socket.destroy();
  assert.equal((await output).code, 1);
  const alone = await startHook(t, [ref], {}).output;
  assert.equal(alone.code, 1);
  assert.match(alone.stderr, /^Sluice accepts pushes only over ssh or http/);
});

test('a killed hook has no request', async (t) => {
  const { child, hook, output } = startHook(t, []);
  child.kill('SIGKILL');
  await output;
  // The hook may have sent its request before the signal.
  const request = await hook.request;
  assert.ok(request === null || request.updates.length === 0);
});

test('more refs than the limit are read to the end, and the request is cut', async (t) => {
  const refs = Array.from({ length: 60_000 }, (_, at) => `${ref}-with-a-long-name-${at}`);
  const { hook, output } = startHook(t, refs);
  const request = await hook.request;
  assert.equal(request?.isCut, true);
  assert.ok(request.updates.length > 10_000 && request.updates.length < 60_000);
  hook.answer(false);
  assert.equal((await output).code, 1);
});

test('log lines are dropped for a client that does not read, but not other messages', async (t) => {
  const { hook, output } = startHook(t, [ref]);
  await hook.request;
  const line = `${'x'.repeat(1023)}\n`;
  for (let count = 0; count < 4000; count += 1) hook.offer(line);
  hook.write('the end\n');
  hook.answer(false);
  const { stdout } = await output;
  assert.match(stdout, /\nthe end\n$/);
  assert.ok(stdout.length < 3 * 1024 ** 2, `${stdout.length} bytes`);
});
