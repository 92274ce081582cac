import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { BoundSocket, connect, createServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import type { PortAddress } from '../../src/protocol/runner.ts';
import { HeldPorts } from '../../src/runner/ports/held-ports.ts';
import { ProcessRecords } from '../../src/runner/takeover/process-records.ts';
import { isListenedOn } from '../../src/system/net/listeners.ts';
import { isAlive, signalProcess } from '../../src/system/process/processes.ts';
import { freePort } from '../support/free-port.ts';
import { withoutRoot } from '../support/isolated.ts';
import { TestRunner } from '../support/runner.ts';
import { otherUser, Squatter } from '../support/squatter.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

test('only processes of the same user can listen on a held port', { skip: withoutRoot }, async (t) => {
  const { holdNow, port } = await place(t);
  const free = await freePort();
  const held = await holdNow([loopback(port)]);
  assert.deepEqual(held.report, { unavailable: null, refused: [] });
  const squatter = await Squatter.start(t, port);
  await squatter.rounds(3);
  assert.deepEqual(squatter.got, []);
  await assert.rejects(once(connect(port, '127.0.0.1'), 'connect'), { code: 'ECONNREFUSED' });

  const socket = new BoundSocket({ host: '127.0.0.1', port, reusePort: true });
  const server = createServer((client) => client.end('ours')).listen(socket);
  t.after(() => server.close());
  await once(server, 'listening');
  await squatter.rounds(3);
  assert.equal(await answerOf(port), 'ours');
  assert.deepEqual(squatter.got, []);
  // The test would notice a port that is not held.
  const other = await Squatter.start(t, free);
  await waitFor(() => other.got.length > 0, { what: 'a free port' });
});

test('ports stay held while runners are killed and replaced, also with open connections', {
  skip: withoutRoot,
}, async (t) => {
  const runner = await TestRunner.start(t);
  const { port } = runner;
  await runner.client.call('hold', { addresses: [loopback(port)] });
  const squatter = await Squatter.start(t, port);
  for (let round = 0; round < 4; round += 1) {
    // As a worker does: another user accepts on a socket that the runner has bound.
    const socket = new BoundSocket({ host: '127.0.0.1', port, reusePort: true });
    const worker = spawn('/usr/bin/perl', ['-e', acceptor, String(otherUser)], {
      stdio: ['pipe', 'pipe', 'inherit', socket.fd()],
    });
    socket.close();
    await once(worker.stdout as NonNullable<ChildProcess['stdout']>, 'data');
    const client = connect(port, '127.0.0.1');
    client.on('error', () => undefined);
    await once(client, 'data');
    await runner.kill();
    await runner.launch();
    const report = await runner.client.call('hold', { addresses: [loopback(port)] });
    assert.deepEqual(report, { unavailable: null, refused: [] });
    worker.kill('SIGKILL');
    await once(worker, 'exit');
    await squatter.rounds(1);
    client.destroy();
  }
  assert.deepEqual(squatter.got, []);
});

test('a port that is no longer assigned is free, and the others stay held', {
  skip: withoutRoot,
}, async (t) => {
  const { holdNow, port, records } = await place(t);
  const kept = await freePort();
  const held = await holdNow([loopback(port), loopback(kept)]);
  const squatter = await Squatter.start(t, kept);
  await held.hold([loopback(kept)]);
  await assert.doesNotReject(listenExclusively(t, port));
  await squatter.rounds(2);
  await held.hold([loopback(kept), { host: '::1', port: await freePort() }]);
  await squatter.rounds(2);
  assert.deepEqual(squatter.got, []);
  assert.equal((await holders(records)).length, 1, 'the former holder has ended');
  await held.dismiss();
  assert.deepEqual(await holders(records), []);
  await waitFor(() => squatter.got.length > 0, { what: 'a free port' });
});

test('a holder that was killed is replaced', async (t) => {
  const { holdNow, port, records } = await place(t);
  await holdNow([loopback(port)]);
  const [first] = await holders(records);
  signalProcess(first as number, 'SIGKILL');
  await waitFor(async () => (await holders(records)).some((pid) => pid !== first), {
    what: 'another holder',
  });
  await waitFor(() => cannotListen(port), { what: 'a port that is held again' });
});

test('a holder without a record ends (thorough)', async (t) => {
  const { holdNow, port, records } = await place(t);
  await holdNow([loopback(port)]);
  const [pid] = await holders(records);
  records.remove(pid as number);
  await waitFor(() => !isAlive(pid as number), { what: 'the end of the holder' });
});

test('a thousand ports are held at once', async (t) => {
  const { holdNow } = await place(t);
  const ports = Array.from({ length: 1000 }, (_, index) => loopback(30_000 + index));
  const { report } = await holdNow(ports);
  // Another program may have some of them.
  assert.ok(report.unavailable === null && report.refused.length < 100, report.refused.join('\n'));
  assert.ok(await cannotListen(30_999));
});

test('the report names a port of another program, and the other ports are held', async (t) => {
  const { holdNow, port } = await place(t);
  const taken = await freePort();
  await listenExclusively(t, taken);
  const { report } = await holdNow([loopback(taken), loopback(port)]);
  assert.equal(report.unavailable, null);
  assert.match(report.refused.join(), new RegExp(`^port ${taken} on 127\\.0\\.0\\.1: `));
  assert.ok(await cannotListen(port));
});

test('the report names each address that another program has, which is held once that program is gone', {
  skip: withoutRoot,
}, async (t) => {
  const { records, directory, port } = await place(t);
  const lines: string[] = [];
  const held = new HeldPorts(directory, records, (line) => lines.push(line), { retryAfter: 50 });
  t.after(() => held.dismiss());
  const other = createServer().listen({ port, host: '::1', exclusive: true });
  await once(other, 'listening');
  const { refused } = await held.hold([loopback(port)]);
  assert.deepEqual(refused, [`port ${port} on ::1: Address already in use`]);
  assert.ok(await cannotListen(port));
  other.close();
  await waitFor(() => held.report.refused.length === 0, { what: 'the rest of the port' });
  assert.equal(lines.length, 1);
  const squatter = await Squatter.start(t, port);
  await squatter.rounds(2);
  assert.deepEqual(squatter.got, []);
});

test('a holder that ends while the records cannot be read is replaced, and the runner survives', async (t) => {
  const { directory, port } = await place(t);
  const records = new ScarceRecords(directory);
  const lines: string[] = [];
  const held = new HeldPorts(directory, records, (line) => lines.push(line), { retryAfter: 50 });
  t.after(() => held.dismiss());
  await held.hold([loopback(port)]);
  const [first] = await holders(records);
  records.failures = 1;
  signalProcess(first as number, 'SIGKILL');
  await waitFor(() => lines.some((line) => /^ports are tried again: .*EMFILE/.test(line)));
  await waitFor(async () => (await holders(records)).length === 1);
  assert.ok(await cannotListen(port));
});

test('without perl, the runner logs the reason once, and calls do not fail', async (t) => {
  const { records, directory, port } = await place(t);
  const lines: string[] = [];
  const held = new HeldPorts(directory, records, (line) => lines.push(line), {
    perl: '/nonexistent/perl',
  });
  for (let call = 0; call < 2; call += 1) {
    const { unavailable } = await held.hold([loopback(port)]);
    assert.equal(unavailable, 'there is no /nonexistent/perl');
  }
  assert.equal(lines.length, 1);
});

test('only numeric addresses and ports are held', async (t) => {
  const { records, directory } = await place(t);
  const held = new HeldPorts(directory, records, () => undefined);
  const bad = [
    { host: 'localhost', port: 1 },
    { host: '127.0.0.1', port: 0 },
    { host: '::1', port: 1.5 },
    { host: '::1' },
    null,
  ];
  for (const each of [...bad.map((one) => [one]), {}, null, '127.0.0.1 1\n127.0.0.1 2'])
    assert.throws(() => held.hold(each as PortAddress[]), { code: 'bad_request' });
});

test('a port counts as listened on if a socket listens on an overlapping address', async (t) => {
  const port = await freePort();
  assert.equal(await isListenedOn('127.0.0.1', port), false);
  await listenExclusively(t, port);
  for (const host of ['127.0.0.1', '0.0.0.0', '::']) assert.equal(await isListenedOn(host, port), true, host);
  for (const host of ['127.0.0.2', '::1']) assert.equal(await isListenedOn(host, port), false, host);
});

const acceptor = `
  open(my $listener, '+<&=', 3) or die $!;
  # Node.js has made it non-blocking (F_SETFL).
  fcntl($listener, 4, 0) or die $!;
  $) = $ARGV[0]; $( = $ARGV[0]; $< = $> = $ARGV[0];
  listen($listener, 5) or die $!;
  $| = 1; print "listens\\n";
  my @clients;
  while (accept(my $client, $listener)) { syswrite($client, 'hello'); push @clients, $client; }
`;

/** Records that cannot be read for some times, as without a free descriptor. */
class ScarceRecords extends ProcessRecords {
  failures = 0;

  override async alive() {
    if (this.failures === 0) return super.alive();
    this.failures -= 1;
    throw Object.assign(new Error('EMFILE: too many open files'), { code: 'EMFILE' });
  }
}

function loopback(port: number): PortAddress {
  return { host: '127.0.0.1', port };
}

/** Records of a runner and a port; `holdNow` holds ports until the end of the test. */
async function place(t: TestContext) {
  const directory = await temporaryDirectory(t);
  const records = new ProcessRecords(directory);
  const holdNow = async (ports: PortAddress[]) => {
    const held = new HeldPorts(directory, records, () => undefined);
    t.after(() => held.dismiss());
    await held.hold(ports);
    return held;
  };
  return { directory, records, holdNow, port: await freePort() };
}

async function holders(records: ProcessRecords): Promise<number[]> {
  return (await records.alive()).filter(({ kind }) => kind === 'holder').map(({ pid }) => pid);
}

async function listenExclusively(t: TestContext, port: number): Promise<void> {
  const server = createServer().listen({ port, host: '127.0.0.1', exclusive: true });
  await once(server, 'listening');
  t.after(() => server.close());
}

async function cannotListen(port: number): Promise<boolean> {
  const server = createServer().listen({ port, host: '127.0.0.1', exclusive: true });
  try {
    await once(server, 'listening');
    return false;
  } catch {
    return true;
  } finally {
    server.close();
  }
}

async function answerOf(port: number): Promise<string> {
  let answer = '';
  for await (const chunk of connect(port, '127.0.0.1')) answer += chunk;
  return answer;
}
