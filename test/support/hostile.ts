/** App that runs the body of each POST as code. */
export const hostileApp = `
const Code = (async () => {}).constructor;
require('node:http').createServer((request, response) => {
  let code = '';
  request.on('data', (chunk) => { code += chunk; });
  request.on('end', async () => {
    if (request.method !== 'POST') return response.end(String(process.pid));
    const answer = await new Code('require', code)(require).then(String, (error) => 'failed: ' + error.stack);
    response.end(answer);
  });
}).listen(process.env.PORT);`;

/**
 * Descriptors that a worker has from the runner: its output, the channel, the two ends of the handoff, and the first of
 * the copies of the listening socket.
 */
const given = [1, 2, 3, 4, 5, 6];

const tools = `
const fs = require('node:fs');
const net = require('node:net');
const { spawn } = require('node:child_process');
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
/** Writes everything, and yields the CPU while it cannot write. */
const put = async (fd, bytes, until = Infinity) => {
  for (let at = 0; at < bytes.length && Date.now() < until; ) {
    try {
      at += fs.writeSync(fd, bytes, at);
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
      await sleep(2);
    }
  }
};
/**
 * Repeats a text for a while, up to 5 MB a second. The kernel takes 20 KB whole or not at all: our lines and those of the
 * worker itself do not mix.
 */
const flood = async (fd, text, ms) => {
  const bytes = Buffer.from(text.repeat(Math.ceil(20_000 / text.length)));
  for (const until = Date.now() + ms; Date.now() < until; await sleep(4)) await put(fd, bytes);
};
/** Runs code in a process that has our descriptors 3, 4 and 5; \`send\` in it sends a handle with a text. */
const inChild = (code) => new Promise((resolve) => {
  const all = "const fs = require('fs'), net = require('net');" +
    "const { Pipe, constants } = process.binding('pipe_wrap'), { WriteWrap } = process.binding('stream_wrap');" +
    "const pipes = {}; for (const fd of [3, 4, 5]) { pipes[fd] = new Pipe(constants.IPC); pipes[fd].open(fd); }" +
    "const send = (fd, text, handle) => { const request = new WriteWrap(); request.oncomplete = () => {}; request.async = false; return pipes[fd].writeUtf8String(request, text, handle); };" +
    "const fileHandle = (path) => { const pipe = new Pipe(constants.SOCKET); pipe.open(fs.openSync(path)); return pipe; };" +
    "const server = net.createServer().listen(0, '127.0.0.1', async () => {" + code + "; setTimeout(() => process.exit(), 300); });";
  spawn(process.execPath, ['-e', all], { stdio: ['ignore', 'ignore', 'inherit', 3, 4, 5], env: {} }).on('exit', resolve);
});
const beat = '{"type":"beat","eventLoopDelayMs":0,"connections":0,"requests":0}\\n';
`;

/** Handles of each kind that Node.js can pass on, and of files, which it cannot receive. */
const handles = `[server._handle, require('dgram').createSocket('udp4').bind(0)._handle ?? server._handle,
  fileHandle('/dev/null'), fileHandle('/proc/self/exe'), fileHandle('/')].filter(Boolean)`;

function withHandles(fd: number, text: string): string {
  return `await inChild(${JSON.stringify(
    `const handles = ${handles}; for (let count = 0; count < 1500; count += 1) { send(${fd}, ${JSON.stringify(text)}, handles[count % handles.length]); if (count % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 2)); }`,
  )});`;
}

const beat = '{"type":"beat","eventLoopDelayMs":0,"connections":0,"requests":0}\n';

function attack(code: string): string {
  return `${tools}${code}; return 'done';`;
}

/** Attacks that end the worker, which is started again. */
export const fatal: Record<string, string> = {
  'a line that is no JSON': attack(`await put(3, Buffer.from('garbage\\n')); await sleep(5000)`),
  'an acknowledgement of a handle that nobody sent': attack(
    `await put(3, Buffer.from('{"cmd":"NODE_HANDLE_ACK"}\\n')); await sleep(5000)`,
  ),
  'a message of Node.js about a handle': attack(
    `await put(3, Buffer.from('{"cmd":"NODE_HANDLE","type":"net.Socket","msg":null}\\n')); await sleep(5000)`,
  ),
  'a line without an end': attack(
    `await put(3, Buffer.alloc(300_000, '1'), Date.now() + 5000); await sleep(5000)`,
  ),
  'bursts of about 64 KiB, and then half a line': attack(`
    const digits = (length) => Buffer.from('1'.repeat(length - 1) + '\\n');
    for (let count = 0; count < 20; count += 1) await put(3, Buffer.from(beat.repeat(15)));
    await put(3, Buffer.concat([Buffer.from(beat.repeat(700)), digits(15_000), digits(15_000), digits(30_000)]));
    await put(3, Buffer.from('e1\\n'));
    await sleep(5000)`),
  'bytes that are no text': attack(`
    const { randomBytes } = require('node:crypto');
    for (const until = Date.now() + 5000; Date.now() < until; await sleep(5)) await put(3, randomBytes(3000), until)`),
  'random bytes on each descriptor': attack(`
    const { randomBytes } = require('node:crypto');
    for (const until = Date.now() + 5000; Date.now() < until; await sleep(1))
      for (const fd of ${JSON.stringify(given)}) try { fs.writeSync(fd, randomBytes(512)); } catch {}`),
  'handles beside lines that are no messages': attack(`${withHandles(3, '0\n')} await sleep(5000)`),
  // Node.js cannot receive files and ends the process that reads them, which is the app itself.
  'files, sockets and noise in the handoff': attack(`
    await put(5, Buffer.alloc(5000, 'noise'), Date.now() + 100);
    ${withHandles(5, '0\n')} await sleep(5000)`),
  'a closed channel': attack(`fs.closeSync(3); await sleep(5000)`),
  'a channel that another process holds open': attack(`
    spawn('sleep', ['10'], { detached: true, stdio: ['ignore', 'ignore', 'ignore', 3, 4, 5] }).unref();
    await put(3, Buffer.from('garbage\\n'));
    await sleep(5000)`),
};

/** Attacks that the worker survives. @param ms duration of attacks that could go on for ever */
export function lasting(ms: number): Record<string, string> {
  return {
    'large messages by process.send': attack(`
      for (let count = 0; count < 20; count += 1) process.send({ large: 'x'.repeat(200_000 + count * 10_000) });
      await sleep(100)`),
    'messages faster than they are read': attack(`await flood(3, beat, ${ms})`),
    'handles beside messages': attack(withHandles(3, beat)),
    'connections in the handoff that nobody has given away': attack(`
      const code = "for (let count = 0; count < 1500; count += 1) { send(5, (count % 2) + '\\\\n', server._handle); if (count % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 2)); }";
      await inChild(code)`),
    // The initial environment of the worker has all that this attack needs.
    'false orphans that hang up': attack(`
      const environment = fs.readFileSync('/proc/self/environ', 'utf8').split('\\0');
      const boot = JSON.parse(environment.find((line) => line.startsWith('SLUICE_WORKER=')).slice(14));
      const { version, key, generation, release, secret } = boot;
      const line = JSON.stringify({ type: 'orphan', version, key, generation, release, pid: process.pid, secret });
      for (let count = 0; count < 300; count += 1) {
        await new Promise((resolve) => {
          const socket = net.connect(boot.orphanSocket, () => {
            socket.write(line + '\\n');
            if (count % 3 === 0) socket.destroy();
            else if (count % 3 === 1) socket.end();
            else setTimeout(() => socket.destroy(), 1);
          });
          socket.resume().on('error', () => undefined).on('close', resolve);
        });
      }
      const sockets = Array.from({ length: 300 }, () => net.connect(boot.orphanSocket).resume().on('error', () => undefined));
      for (const socket of sockets) socket.write(line + '\\n');
      for (const until = Date.now() + 5000; sockets.filter((socket) => !socket.destroyed).length > 1; await sleep(20))
        if (Date.now() > until) throw new Error('the runner keeps all connections of an orphan');
      for (const socket of sockets) socket.destroy()`),
    'random bytes on all other descriptors': attack(`
      const { randomBytes } = require('node:crypto');
      for (const until = Date.now() + ${ms}; Date.now() < until; await sleep(10))
        for (const fd of ${JSON.stringify(given.filter((fd) => fd !== 3))})
          try { fs.writeSync(fd, randomBytes(512)); } catch {}`),
  };
}

/** Takes a whole processor, and attacks nobody. */
export function computing(ms: number): string {
  return `for (const until = Date.now() + ${ms}; Date.now() < until; ); return 'done';`;
}
