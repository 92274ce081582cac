import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode } from '../../src/errors/app-error.ts';
import type { Release } from '../../src/releases/release.ts';
import { cli } from '../support/cli.ts';
import { startSluice } from '../support/server.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

const random = (length: number) => randomBytes(length).toString('hex').slice(0, length);
const pem = Array.from({ length: 4 }, () => randomBytes(36).toString('base64')).join('\n');
const values = {
  SECRET: `sk_live_${random(32)}`,
  URL_WITH_PASSWORD: `postgres://shop:${random(24)}@db.example:5432/shop`,
  PEM: `-----BEGIN PRIVATE KEY-----\n${pem}\n-----END PRIVATE KEY-----\n`,
  SPECIAL: `${random(12)}/"quoted" \\ü%${random(12)}`,
};
const token = `npm_${random(36)}`;

/** Length of a part of a value that nothing may show. */
const partLength = 12;

/** Parts of values that nothing may show: of each line of a value, as written, in base64 at each alignment, and in hexadecimal. */
const parts = partsOf([...Object.values(values), token]);

function partsOf(all: string[]): Set<string> {
  const lines = all
    .flatMap((value) => value.split('\n'))
    .filter((line) => line !== '' && !line.startsWith('---'));
  const found = new Set<string>();
  const add = (text: string) => {
    for (let at = 0; at + partLength <= text.length; at += 1) found.add(text.slice(at, at + partLength));
  };
  for (const line of lines) {
    // The host of a URL is in other URLs, too.
    const secret = /:\/\/[^:]+:([^@]+)@/.exec(line)?.[1] ?? line;
    for (const text of [secret, encodeURIComponent(secret), JSON.stringify(secret).slice(1, -1)]) add(text);
    add(Buffer.from(secret).toString('hex'));
    // The first and the last digits depend on the text beside the value.
    for (const before of ['', 'x', 'xx']) {
      const encoded = Buffer.from(before + secret)
        .toString('base64')
        .replaceAll('=', '');
      for (const text of [encoded, encoded.replaceAll('+', '-').replaceAll('/', '_')]) add(text.slice(4, -4));
    }
  }
  return found;
}

/** Returns the first part of a value that a text shows, with the text around; undefined if it shows none. */
function shownIn(text: string): string | undefined {
  // A pattern for the words themselves would overflow the stack in a long file.
  for (const word of text.split(/[\s•]+/)) {
    for (let at = 0; at + partLength <= word.length; at += 1) {
      const part = word.slice(at, at + partLength);
      if (!parts.has(part)) continue;
      const found = text.indexOf(part);
      return `${part} in: ${text.slice(Math.max(0, found - 100), found + 200)}`;
    }
  }
  return undefined;
}

/** Returns what a function reads; undefined if it was removed meanwhile, such as a directory of an install. */
function unlessGone<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error;
    return undefined;
  }
}

/** Returns the files below a directory, without those that links name. */
function filesBelow(directory: string): string[] {
  const entries = unlessGone(() => readdirSync(directory, { withFileTypes: true })) ?? [];
  return entries.flatMap((entry) => {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) return filesBelow(path);
    return entry.isFile() ? [path] : [];
  });
}

/** Reads the arguments of all processes until it is disposed of. */
function watchArguments() {
  const seen = new Set<string>();
  const stop = new AbortController();
  const read = async () => {
    while (!stop.signal.aborted) {
      for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
        try {
          seen.add(readFileSync(`/proc/${pid}/cmdline`, 'latin1'));
        } catch {
          // The process has ended.
        }
      }
      await sleep(100, undefined, { signal: stop.signal }).catch(() => undefined);
    }
  };
  const reading = read();
  return {
    seen,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await reading;
    },
  };
}

const leaking = await readFile(join(import.meta.dirname, '../fixtures/apps/leaking.cjs'), 'utf8');

interface Changes {
  hooks?: Record<string, string>;
  scripts?: Record<string, string>;
  server?: string;
}

const app = ({
  hooks = {
    preBuild: 'node leaking.cjs preBuild',
    postBuild: 'node leaking.cjs postBuild',
    preSwitch: 'node leaking.cjs preSwitch',
    postSwitch: 'node leaking.cjs postSwitch fail',
  },
  scripts = { postinstall: 'node leaking.cjs install', build: 'node leaking.cjs build' },
  server = `const { leak, failure } = require('./leaking.cjs');
    require('node:http').createServer((request, response) => {
      if (request.url === '/leak') leak('request');
      if (request.url === '/crash') throw failure('worker');
      if (request.url === '/log.json') console.log(JSON.stringify({ level: 'info', env: process.env }));
      response.end('answered');
    }).listen(process.env.PORT);
    leak('worker');`,
}: Changes = {}) => ({
  'leaking.cjs': leaking,
  'package.json': {
    ...{ name: 'leaky', version: '1.0.0', scripts: { start: 'node server.js', ...scripts } },
    dependencies: { dep: 'file:./dep' },
  },
  'dep/package.json': { name: 'dep', version: '1.0.0' },
  'server.js': server,
  'sluice.json': {
    ...{ workers: 1, hooks },
    processes: { queue: 'node leaking.cjs queue stay', failing: 'node leaking.cjs failing fail' },
    cron: [
      { name: 'printing', schedule: '*/3 * * * * *', command: 'node leaking.cjs cron fail' },
      { name: 'asking', schedule: '*/3 * * * * *', request: '/log.json' },
    ],
  },
});

test('no value of a variable appears in a log, an error, an event, an answer of the API, a file of the home or an argument (thorough)', {
  timeout: 600_000,
}, async (t) => {
  const npmCache = await temporaryDirectory(t);
  const sluice = await startSluice(t, { env: { npm_config_cache: npmCache } });
  const { logs } = sluice.paths.environment({ app: 'leaky', environment: 'production' });
  const answers: string[] = [];
  const keep = <T>(answer: T): T => {
    answers.push(JSON.stringify(answer));
    return answer;
  };
  const failed = (work: Promise<unknown>) =>
    assert.rejects(work, (error: Error) => {
      answers.push(`${error.stack} ${JSON.stringify(error)}`);
      assert.match(answers.at(-1) ?? '', /••••••/);
      return true;
    });
  const said = (...texts: string[]) =>
    waitFor(
      async () => {
        const log = await readFile(join(logs, 'app.log'), 'utf8');
        return texts.every((text) => log.includes(text));
      },
      { what: `${texts}` },
    );
  await using processes = watchArguments();

  const variables = { ...values, BUILD_TOKEN: { value: token, build: true } };
  keep(await sluice.call('PATCH', '/v1/apps/leaky/env', variables));
  for await (const event of sluice.watchDeploy('leaky', app())) keep(event);
  for (const path of ['/leak', '/log.json']) await sluice.get('leaky', path);
  await sluice.get('leaky', '/crash').catch(() => undefined);
  await said(
    'request has leaked',
    'queue has leaked',
    'failing has leaked',
    'cron has leaked',
    'worker failed with',
  );
  await waitFor(async () => (await sluice.status('leaky')).crash !== null, { what: 'the crash' });

  const fails = 'node leaking.cjs failing fail';
  const dying = `const { leak, failure } = require('./leaking.cjs'); leak('boot'); throw failure('boot');`;
  for (const failing of [
    { hooks: { preBuild: fails } },
    { scripts: { postinstall: fails } },
    { scripts: { build: fails } },
    { hooks: { preSwitch: fails } },
    { server: dying },
  ])
    await failed(sluice.deploy('leaky', app({ hooks: {}, scripts: {}, ...failing })));

  const ofReader = JSON.parse(
    (
      await cli(['token', 'create', 'reader', '--scope', 'read', '--json'], {
        env: { SLUICE_HOME: sluice.home },
      })
    ).stdout,
  ).token;
  const releases = keep(await sluice.call<Release[]>('GET', '/v1/apps/leaky/releases'));
  for (const path of [
    ...[
      '/v1/status',
      '/v1/apps',
      '/v1/apps/leaky',
      '/v1/apps/leaky/variables?all=1',
      '/v1/domains',
      '/v1/node',
    ],
    ...releases.flatMap(({ number }) =>
      ['', '/log'].map((rest) => `/v1/apps/leaky/releases/${number}${rest}`),
    ),
  ])
    answers.push(await (await sluice.request(path)).text());
  for (const path of ['/v1/apps/leaky/env', '/v1/apps/leaky/variables?show=1&all=1']) {
    const response = await fetch(sluice.url + path, { headers: { authorization: `Bearer ${ofReader}` } });
    assert.equal(response.status, 200);
    answers.push(await response.text());
  }
  await sluice.call('POST', '/v1/apps/leaky/stop');
  for (const accept of ['text/plain', 'application/x-ndjson']) {
    const response = await sluice.request('/v1/apps/leaky/logs?lines=100000', { headers: { accept } });
    answers.push(await response.text());
  }
  for (const command of ['status', 'logs', 'env list'])
    answers.push(
      JSON.stringify(
        await cli([...command.split(' '), 'leaky'], {
          env: { SLUICE_HOME: sluice.home },
        }),
      ),
    );
  for (const answer of answers) assert.equal(shownIn(answer), undefined);

  const files = [...filesBelow(sluice.home), ...filesBelow(npmCache)];
  for (const name of ['app.log', 'build.log', 'release.json', 'events.jsonl', 'sluice.log'])
    assert.ok(
      files.some((file) => file.endsWith(`/${name}`)),
      name,
    );
  // The two files in which the values are stored.
  const others = files.filter((file) => !/\/(?:env|env-details)\.json$/.test(file));
  const shown = others.flatMap((file) => {
    const found = shownIn(unlessGone(() => readFileSync(file, 'latin1')) ?? '');
    return found === undefined ? [] : [`${file}: ${found}`];
  });
  assert.deepEqual(shown, []);
  assert.ok(processes.seen.size > 10);
  assert.equal(shownIn([...processes.seen].join('\n')), undefined);
});
