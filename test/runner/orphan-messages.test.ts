import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmod } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { Handoff } from '../../src/runner/handoff.ts';
import { Orphans } from '../../src/runner/takeover/orphans.ts';
import { ProcessRecords } from '../../src/runner/takeover/process-records.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

const secret = 's'.repeat(32);
const identity = { key: 'shop', pid: process.pid, secret };
const whole = ['handoff', 'retire'];

test('no `retire` comes between the two ends of a handoff', async (t) => {
  const { orphans, path, handoff } = await setUp(t);
  const orphan = report(t, path);
  await waitFor(() => orphans.serving('shop'));
  void orphans.retire('shop', handoff);
  void orphans.retire('shop', handoff);
  void orphans.retire('shop');
  await waitFor(() => orphan.heard.at(-1) === 'retire, last');
  assert.deepEqual(orphan.heard, [...whole, 'retire, last']);
});

test('an orphan that loses its connection gets the handoff again', async (t) => {
  const { orphans, path, handoff, succeed } = await setUp(t);
  const first = report(t, path);
  await waitFor(() => orphans.serving('shop'));
  succeed();
  void orphans.retire('shop', handoff);
  await waitFor(() => first.heard.length === 2);
  first.socket.destroy();
  await waitFor(() => !orphans.serving('shop'));
  const second = report(t, path);
  await waitFor(() => second.heard.length > 0);
  await waitFor(() => second.heard.at(-1) === 'retire');
  assert.deepEqual(second.heard, whole);
});

test('an orphan that lacks the handoff gets it again, and is sent no other messages', async (t) => {
  const { orphans, path, handoff, succeed } = await setUp(t);
  const orphan = report(t, path);
  await waitFor(() => orphans.serving('shop'));
  succeed();
  const retired = orphans.retire('shop', handoff);
  await waitFor(() => orphan.heard.length === 2);
  orphan.socket.write('{"type":"retired","lacksHandoff":true}\n');
  await retired;
  assert.equal(orphans.stateOf(process.pid), 'retired');
  await waitFor(() => orphan.heard.length === 4);
  orphan.socket.write('{"type":"retired"}\n');
  await orphans.retire('shop', handoff);
  void orphans.retire('shop');
  await waitFor(() => orphan.heard.at(-1) === 'retire, last');
  assert.deepEqual(orphan.heard, [...whole, ...whole, 'retire, last']);
});

test('a retirement is recorded once for each connection, and without a free descriptor it counts all the same', async (t) => {
  const { orphans, path, records } = await setUp(t);
  const noted = t.mock.method(records, 'noteRetired');
  const first = report(t, path);
  await waitFor(() => orphans.serving('shop'));
  first.socket.write('{"type":"retired"}\n'.repeat(5));
  await waitFor(() => orphans.stateOf(process.pid) === 'retired');
  first.socket.end();
  await waitFor(() => orphans.stateOf(process.pid) === 'unknown');
  assert.equal(noted.mock.callCount(), 1);

  const second = report(t, path);
  await waitFor(() => orphans.serving('shop'));
  t.mock.method(records, 'get', () => {
    throw Object.assign(new Error('no descriptor'), { code: 'EMFILE' });
  });
  second.socket.write('{"type":"retired"}\n');
  await waitFor(() => !orphans.serving('shop'));
  assert.equal(noted.mock.callCount(), 1);
});

test('an orphan that reads nothing is disconnected before its messages have to wait', async (t) => {
  const { orphans, path, handoff } = await setUp(t);
  const other = await Handoff.create(await temporaryDirectory(t), () => undefined);
  t.after(() => other.close());
  const { socket } = report(t, path);
  await waitFor(() => orphans.serving('shop'));
  socket.pause();
  for (let count = 0; count < 100; count += 1) void orphans.retire('shop', count % 2 === 0 ? handoff : other);
  await waitFor(() => !orphans.serving('shop'));
});

test('an orphan retires although the system refuses the ends of a handoff, and gets them once fewer descriptors are in flight', async (t) => {
  const directory = await temporaryDirectory(t);
  await chmod(directory, 0o777);
  const module = (path: string) => JSON.stringify(import.meta.resolve(path));
  // The limit is of a user, and root has none.
  const program = `
    import { connect } from 'node:net';
    import { createInterface } from 'node:readline';
    import { Handoff } from ${module('../../src/runner/handoff.ts')};
    import { Orphans } from ${module('../../src/runner/takeover/orphans.ts')};
    import { ProcessRecords } from ${module('../../src/runner/takeover/process-records.ts')};
    import { sendHandles } from ${module('../../src/runner/takeover/send-handle.ts')};
    if (process.getuid() === 0) process.setuid(2e9 + process.pid);
    const create = () => Handoff.create(${JSON.stringify(directory)}, () => undefined);
    const records = new ProcessRecords(${JSON.stringify(join(directory, 'processes'))});
    const identity = { ...${JSON.stringify(identity)}, pid: process.pid };
    records.add('worker', 'shop', process.pid, { secret: identity.secret });
    const [full, handoff] = [await create(), await create()];
    let parts = 0;
    const more = { get text() { parts += 1; return 'x'; }, sent: full.take };
    const isSent = await sendHandles(full.give, Array(400).fill(more));
    const orphans = new Orphans(records, () => handoff);
    await orphans.listen(${JSON.stringify(join(directory, 'orphans.sock'))}, { open: false });
    const orphan = connect(${JSON.stringify(join(directory, 'orphans.sock'))});
    orphan.write(JSON.stringify({ type: 'orphan', ...identity }) + '\\n');
    const heard = [];
    for await (const line of createInterface({ input: orphan })) {
      const { type, handoff: id } = JSON.parse(line);
      heard.push(id === handoff.id ? type + ', known' : type);
      full.take.resume();
      if (type !== 'retire') continue;
      if (heard.at(-2) === 'handoff') break;
      // Other processes of the same user may keep the limit reached for a while.
      orphan.write('{"type":"retired","lacksHandoff":true}\\n');
    }
    console.log(JSON.stringify({ isSent, isFull: parts > 50, first: heard[0], last: heard.slice(-2) }));
    process.exit();`;
  const args = ['-c', 'ulimit -n 100; exec "$0" --no-warnings --input-type=module -e "$1"', process.execPath];
  const { stdout } = await promisify(execFile)('/bin/sh', [...args, program], { timeout: 60_000 });
  const [first, last] = ['retire, known', ['handoff', 'retire, known']];
  assert.deepEqual(JSON.parse(stdout), { isSent: false, isFull: true, first, last });
});

/** @returns `succeed` makes the handoff that of the active generation */
async function setUp(t: TestContext) {
  const directory = await temporaryDirectory(t);
  const records = new ProcessRecords(join(directory, 'processes'));
  records.add('worker', 'shop', process.pid, { secret });
  let successor: Handoff | undefined;
  const orphans = new Orphans(records, () => successor);
  const path = join(directory, 'orphans.sock');
  await orphans.listen(path, { open: false });
  const handoff = await Handoff.create(directory, () => undefined);
  t.after(() => {
    orphans.close();
    handoff.close();
  });
  const succeed = () => {
    successor = handoff;
  };
  return { orphans, path, records, handoff, succeed };
}

/** Connects as an orphan. @returns the kinds of messages that come; the kernel drops the descriptors */
function report(t: TestContext, path: string): { socket: Socket; heard: string[] } {
  const socket = connect(path).on('error', () => undefined);
  t.after(() => socket.destroy());
  socket.write(`${JSON.stringify({ type: 'orphan', ...identity })}\n`);
  const heard: string[] = [];
  createInterface({ input: socket }).on('line', (line) => {
    const { type, last } = JSON.parse(line) as { type: string; last?: boolean };
    heard.push(last === true ? `${type}, last` : type);
  });
  return { socket, heard };
}
