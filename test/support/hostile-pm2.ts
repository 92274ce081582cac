/** Attack by a file of PM2. */
interface Attack {
  text: string;
  /** true if only the limit of the time ends it */
  isEndless?: true;
  /** file; ecosystem.config.js by default */
  file?: string;
  /** error; undefined if the attack has no effect, and the file has its apps */
  error?: RegExp;
}

const apps = `[{ name: 'web', script: 'server.js' }]`;

/** Attacks by files of PM2, by title. A file without an error exports the app `web`. */
export const hostileFiles: Record<string, Attack> = {
  'loops forever': { text: 'for (;;);', isEndless: true, error: /does not end within 10 s/ },
  'loops forever and handles SIGTERM': {
    text: `process.on('SIGTERM', () => {}); for (;;);`,
    isEndless: true,
    error: /does not end within 10 s/,
  },
  'loops forever in a promise': {
    text: 'Promise.resolve().then(() => { for (;;); }); module.exports = new Promise(() => {});',
    isEndless: true,
    error: /does not end within 10 s/,
  },
  'waits forever': {
    file: 'pm2.config.mjs',
    text: 'setInterval(() => {}, 1000); await new Promise(() => {});',
    isEndless: true,
    error: /does not end within 10 s/,
  },
  'allocates a heap of 1 GB': {
    text: 'const all = []; for (;;) all.push(new Array(1e5).fill(1.5));',
    error: /needs more than 384 MB of memory/,
  },
  'allocates Buffers of 1 GB': {
    text: 'const all = []; for (let at = 0; at < 100; at += 1) all.push(Buffer.alloc(1e7, 1));',
    error:
      /needs more than 384 MB of memory|RangeError|Array buffer allocation failed|ERR_MEMORY_ALLOCATION_FAILED/,
  },
  'starts itself again and again': {
    text: `const { spawn } = require('child_process');
      for (let at = 0; at < 200; at += 1) spawn('sleep', ['600'], { detached: true, stdio: 'inherit' }).on('error', () => {}).unref();
      exports.apps = ${apps};`,
  },
  'leaves a detached process with its pipes': {
    text: `require('child_process').spawn('sleep', ['600'], { detached: true, stdio: ['ignore', 'inherit', 'inherit', 3] }).unref();
      exports.apps = ${apps};`,
  },
  'leaves a process without its variables': {
    text: `require('child_process').spawn('sleep', ['600'], { env: {} }).unref();
      exports.apps = ${apps};`,
  },
  'calls process.exit(0)': { text: 'process.exit(0);', error: /ends its process with status 0/ },
  'kills its parent': {
    text: `process.kill(process.ppid, 'SIGKILL'); for (;;);`,
    error: /ends the process that evaluates it/,
  },
  'kills itself': { text: `process.kill(process.pid, 'SIGKILL');`, error: /needs more than 384 MB/ },
  'throws a text': { text: `throw 'a text';`, error: /fails: throws "a text"/ },
  'throws undefined': { text: 'throw undefined;', error: /fails: throws undefined/ },
  'throws a proxy': {
    text: `throw new Proxy({}, { get() { throw 1; }, ownKeys() { throw 1; } });`,
    error: /fails: throws/,
  },
  'has a syntax error': { text: '\n\nexports.apps = [', error: /fails in line \d: SyntaxError/ },
  'exports a promise': {
    text: `module.exports = Promise.resolve({ apps: ${apps} });`,
    error: /exports a promise/,
  },
  'exports a function': { text: `module.exports = () => ({ apps: ${apps} });`, error: /exports a function/ },
  'exports a text': { text: `module.exports = 'apps';`, error: /exports a value of type string/ },
  'exports null': { text: 'module.exports = null;', error: /exports null/ },
  'prints without end': {
    text: `setImmediate(() => {}); for (;;) process.stdout.write('x'.repeat(1e5));`,
    isEndless: true,
    error: /does not end within 10 s/,
  },
  'prints without end where the result goes': {
    text: `for (;;) require('fs').writeSync(3, 'x'.repeat(1e5));`,
    error: /ends the process that evaluates it, or prints without end/,
  },
  'closes the standard output': { text: `require('fs').closeSync(1); exports.apps = ${apps};` },
  'closes the pipe of the result': {
    text: `require('fs').closeSync(3); exports.apps = ${apps};`,
    error: /ends its process with status/,
  },
  'replaces JSON.stringify and fs.writeSync': {
    text: `JSON.stringify = () => 'forged'; require('fs').writeSync = () => 0; process.reallyExit = () => {}; exports.apps = ${apps};`,
  },
  'prints a forged result': {
    text: `console.log(JSON.stringify({ value: { apps: [] } })); console.error(process.argv); exports.apps = ${apps};`,
  },
  'reads the environment of its parent': {
    text: `const secret = require('fs').readFileSync('/proc/' + process.ppid + '/environ', 'utf8').includes('SECRET_OF_SLUICE');
      exports.apps = secret ? [] : ${apps};`,
  },
  'has a huge text': {
    text: `exports.apps = [{ name: 'web', script: 'server.js', env: { A: 'x'.repeat(1e8) } }];`,
    error: /has texts of more than 100000 characters/,
  },
  'has 100,000 apps': {
    text: `exports.apps = Array.from({ length: 1e5 }, (_, at) => ({ name: 'a' + at, script: 'server.js' }));`,
    error: /has more than 20000 values/,
  },
  'has an endless list': {
    text: `exports.apps = new Proxy([], { get: (_, key) => (key === 'length' ? Infinity : {}) });`,
    error: /has more than 20000 values|fails/,
  },
  'nests without end': {
    text: `let deep = {}; for (let at = 0; at < 1e5; at += 1) deep = { deep }; exports.apps = [deep];`,
    error: /has objects in more than 20 levels/,
  },
  'grows by shared parts': {
    text: `let part = ['x']; for (let at = 0; at < 18; at += 1) part = [part, part, part, part]; exports.apps = [{ part }];`,
    error: /has more than 20000 values|in more than 20 levels/,
  },
  'grows by aliases': {
    file: 'process.yml',
    text: `a: &a [x, x, x, x, x, x, x, x, x]\n${'abcdefghi'
      .split('')
      .slice(1)
      .map((name, at) => `${name}: &${name} [${Array(9).fill(`*${'abcdefghi'[at]}`).join(', ')}]`)
      .join('\n')}\napps: { script: server.js, part: *i }\n`,
    error: /has more than 20000 values|fails/,
  },
  'has a getter that throws': {
    text: `exports.apps = [{ name: 'web', get script() { throw new Error('no'); } }];`,
    error: /fails.*no/,
  },
  'has a getter that loops': {
    text: `exports.apps = [{ get script() { for (;;); } }];`,
    isEndless: true,
    error: /does not end within 10 s/,
  },
  'writes a result of its own': {
    text: `const { readFileSync, writeSync } = require('fs');
      const mark = readFileSync('/proc/self/cmdline', 'utf8').split('\\0').find((word) => /^[\\da-f-]{36}$/.test(word));
      writeSync(3, '\\n' + mark + '{"value":null}\\n'); process.reallyExit(0);`,
    error: /ends its process with status 0/,
  },
  'pollutes prototypes': {
    text: `Object.prototype.polluted = 'yes'; Array.prototype.polluted = 'yes';
      exports.apps = ${apps}; exports.apps[0]['__proto__'] = { polluted: 'yes' };
      exports.apps.push(JSON.parse('{"name":"worker","script":"server.js","__proto__":{"polluted":"yes"}}')); exports.apps.length = 1;`,
  },
  'loads a file that is not there': {
    text: `require('./missing.js');`,
    error: /fails.*Cannot find module '\.\/missing\.js'/,
  },
};
