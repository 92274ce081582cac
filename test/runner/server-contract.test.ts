import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { delimiter, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { fetchText } from '../support/http.ts';
import { TestRunner } from '../support/runner.ts';
import { waitFor } from '../support/wait.ts';

test('server.close of the app waits for pending responses', async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('closing.cjs', { workers: 1 }));
  assert.equal((await fetchText(runner.port, '/close')).body, 'the last words');
  await waitFor(async () => (await fetchText(runner.port)).body === '1', {
    what: 'the worker that takes its place',
  });
});

test("a client that closes its sending half gets its answer, if the app's server allows that (thorough)", async (t) => {
  const runner = await TestRunner.start(t);
  await runner.release(runner.spec('net.cjs'));
  const socket = connect({ port: runner.port, host: '127.0.0.1', allowHalfOpen: true });
  socket.end('?\n');
  assert.equal(await text(socket), '1\ngoodbye');
});

test("a worker also runs in the machine's own Node.js", async (t) => {
  const node = otherNode();
  if (node === undefined) return t.diagnostic('there is no other Node.js on this machine');
  const runner = await TestRunner.start(t);
  for (let release = 1; release <= 3; release += 1) {
    await runner.release({ ...runner.spec('plain.cjs'), node });
    assert.equal((await fetchText(runner.port)).body, String(release));
  }
  // A busy machine may take longer to boot the next one than the 5 s after which Node closes an idle connection.
  const patient = { KEEP_ALIVE_TIMEOUT: '60000' };
  await runner.release({ ...runner.spec('plain.cjs', {}, patient), node });
  const socket = connect({ port: runner.port, host: '127.0.0.1' }).setEncoding('utf8');
  const ask = async () => {
    socket.write('GET / HTTP/1.1\r\nhost: app\r\n\r\n');
    return String(await once(socket, 'data'));
  };
  assert.match(await ask(), /x-mark: 4/);
  await runner.release({ ...runner.spec('plain.cjs'), node });
  assert.match(await ask(), /x-mark: 5/);
  socket.destroy();
});

/** Returns a Node.js on the PATH that is not the one of Sluice; undefined if there is none. */
function otherNode(): string | undefined {
  for (const directory of (process.env['PATH'] ?? '').split(delimiter)) {
    const candidate = join(directory, 'node');
    try {
      const version = execFileSync(candidate, ['--version'], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      if (version.trim() !== process.version) return candidate;
    } catch {
      // No node in this directory: the next one may have it.
    }
  }
  return undefined;
}
