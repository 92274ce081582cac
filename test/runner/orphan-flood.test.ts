import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Orphans, reportsWithin } from '../../src/runner/takeover/orphans.ts';
import { ProcessRecords } from '../../src/runner/takeover/process-records.ts';
import { descriptorUsage } from '../../src/system/process/descriptors.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

const secret = 's'.repeat(32);
const identity = { key: 'shop', pid: process.pid };
const report = `${JSON.stringify({ type: 'orphan', ...identity, secret })}\n`;

test('the report of a worker is read although hundreds of strangers connect right after, and only some of them stay connected', async (t) => {
  const { orphans, path } = await listening(t);
  const orphan = open(t, path, report);
  const strangers = Array.from({ length: 450 }, () => open(t, path));
  const begun = performance.now();
  await waitFor(() => orphans.serving('shop'));
  await waitFor(() => strangers.filter(({ destroyed }) => !destroyed).length === 200);
  // Checked before the time limit for a first message, which disconnects all strangers.
  assert.ok(performance.now() - begun < 2000);
  assert.equal(orphan.destroyed, false);
});

test('a worker that sends more or longer messages than an orphan may is disconnected', async (t) => {
  const { orphans, path } = await listening(t);
  const talkative = open(t, path, report);
  await waitFor(() => orphans.serving('shop'));
  talkative.write('{"type":"retired"}\n'.repeat(30));
  await once(talkative, 'close');
  const endless = open(t, path, 'x'.repeat(5000));
  await once(endless, 'close');
});

const floods = {
  'idle connections': "const open = () => net.connect(path).on('error', () => undefined);",
  'connections that end at once':
    "const open = () => net.connect(path, function () { this.destroy(); }).on('error', () => undefined);",
  'false reports':
    "const open = () => net.connect(path).on('error', () => undefined).end(JSON.stringify({ ...identity, type: 'orphan', secret: 'x' }) + '\\n');",
};
for (const [name, code] of Object.entries(floods)) {
  test(`a flood of ${name} takes few descriptors of the runner, and a worker can still report in time`, {
    skip: process.platform !== 'linux' && 'counts descriptors in /proc',
  }, async (t) => {
    const { orphans, path } = await listening(t);
    const before = descriptorUsage().descriptors as number;
    const flood = `const net = require('node:net'); const path = ${JSON.stringify(path)}; const identity = ${JSON.stringify(identity)}; ${code}
      let opened = 0;
      setInterval(() => {
        for (let count = 0; count < 50; count += 1) open();
        opened += 50;
        if (opened === 2000) console.log('flooding');
      }, 1);`;
    const child = spawn(process.execPath, ['-e', flood], { stdio: ['ignore', 'pipe', 'ignore'] });
    t.after(() => child.kill('SIGKILL'));
    await once(child.stdout, 'data');
    let most = 0;
    for (let round = 0; round < 5; round += 1) {
      const until = performance.now() + reportsWithin;
      const stop = reportUntilHeard(path);
      // A worker tries five times a second.
      while (!orphans.serving('shop')) {
        assert.ok(performance.now() < until, 'the report of the worker was not read');
        most = Math.max(most, (descriptorUsage().descriptors as number) - before);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      stop();
      await waitFor(() => !orphans.serving('shop'));
    }
    child.kill('SIGKILL');
    t.diagnostic(`${most} descriptors`);
    assert.ok(most < 250, `${most} descriptors`);
    await waitFor(() => (descriptorUsage().descriptors as number) <= before + 1);
  });
}

async function listening(t: TestContext): Promise<{ orphans: Orphans; path: string }> {
  const directory = await temporaryDirectory(t);
  const records = new ProcessRecords(join(directory, 'processes'));
  records.add('worker', 'shop', process.pid, { secret });
  const orphans = new Orphans(records, () => undefined);
  const path = join(directory, 'orphans.sock');
  await orphans.listen(path, { open: true });
  t.after(() => orphans.close());
  return { orphans, path };
}

function open(t: TestContext, path: string, text?: string): Socket {
  const socket = connect(path).on('error', () => undefined);
  socket.resume();
  if (text !== undefined) socket.write(text);
  t.after(() => socket.destroy());
  return socket;
}

/** @returns a function that ends the connection */
function reportUntilHeard(path: string): () => void {
  let socket: Socket;
  let timer: NodeJS.Timeout | undefined;
  let isOver = false;
  const again = () => {
    socket = connect(path).on('error', () => undefined);
    socket.resume().write(report);
    socket.on('close', () => {
      if (!isOver) timer = setTimeout(again, 200);
    });
  };
  again();
  return () => {
    isOver = true;
    clearTimeout(timer);
    socket.destroy();
  };
}
