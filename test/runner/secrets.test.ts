import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readJson } from '../../src/system/fs/files.ts';
import { appLog } from '../support/app-log.ts';
import { fetchText } from '../support/http.ts';
import { TestRunner } from '../support/runner.ts';
import { waitFor } from '../support/wait.ts';

/** Returns random capitals; the same seed gives the same capitals. */
function capitals(length: number, seed: number): string {
  let state = seed + 1;
  return Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return String.fromCharCode(0x41 + Math.floor((state / 2 ** 32) * 26));
  }).join('');
}

const line = 'L'.repeat(40) + capitals(127 * 1024, 1);
const lines = Array.from({ length: 9000 }, (_, index) => capitals(12, 2 + index)).join('\n');
const many = Object.fromEntries(
  Array.from({ length: 1000 }, (_, index) => [`VALUE_${index}`, capitals(20, 20_000 + index)]),
);
const variables: Record<string, string> = { ...many, LINE: line, LINES: lines };

/** A value with a NUL, which is invalid in a variable, and a value in a call that is not JSON. */
const [withNul, inCall] = [`${capitals(30, 5)}\0`, capitals(30, 6)];

const piece = 12;
const pieces = new Set([...Object.values(variables), withNul, inCall].flatMap(piecesOf));

/** Returns a part of a value, of twelve characters, that a text shows; undefined if it shows none. */
function shows(text: string): string | undefined {
  return piecesOf(text).find((each) => pieces.has(each));
}

/** Returns all parts of twelve capitals in a text. */
function piecesOf(text: string): string[] {
  const words = text.match(/[A-Z]+/g) ?? [];
  return words.flatMap((word) =>
    Array.from({ length: Math.max(0, word.length - piece + 1) }, (_, at) => word.slice(at, at + piece)),
  );
}

test('1,000 variables, one with a line of 127 KiB and one with 9,000 lines, are masked in everything that Sluice shows', async (t) => {
  const runner = await TestRunner.start(t);
  const { pid } = runner.process;
  const spec = runner.spec('secrets.cjs', { workers: 1, restartDelay: 50 }, variables);
  spec.log.secrets = Object.values(variables);
  spec.cron = [
    {
      name: 'printing',
      schedule: '* * * * * *',
      timezone: null,
      overlap: false,
      timeout: 10_000,
      action: { kind: 'command', command: 'printf "cron %s\\n" "$VALUE_7" "$LINE"' },
    },
  ];
  await runner.release(spec);
  const print = async (query: string) => {
    assert.equal((await fetchText(runner.port, `/print?${query}`)).body, 'printed');
  };
  const shown = (...texts: string[]) =>
    waitFor(async () => {
      const records = await appLog(spec.log.directory);
      return texts.every((text) => records.some((record) => record.text.includes(text))) && records;
    });
  for (const way of ['plain', 'json', 'base64', 'hex', 'url']) await print(`way=${way}`);
  for (const value of ['2', '0']) {
    await print(`way=begin&value=${value}`);
    // A line without an end is shown after a pause.
    await shown(`begun ${value} `);
    await print(`way=end&value=${value}`);
    await shown(` ended ${value}`);
  }
  await fetchText(runner.port, '/crash').catch(() => undefined);
  const log = await shown('crashing', 'done: exit status 0');
  assert.equal(shows(log.map(({ text }) => text).join('\n')), undefined);
  assert.ok(log.filter(({ text }) => text.includes(Buffer.from('••••••').toString('latin1'))).length > 9000);

  const status = await waitFor(async () => {
    const [target] = await runner.client.call('status', {});
    return target?.crash !== null && target;
  });
  assert.match(JSON.stringify(status?.crash), /crashing with ••••••/);
  assert.equal(shows(JSON.stringify(status)), undefined);
  assert.equal(runner.process.pid, pid);
  assert.equal(runner.process.exitCode, null);
  assert.equal(shows(runner.output), undefined);
});

test('no boot error shows a value, neither of an app that ends nor of an app that cannot be started (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const boot = async (script: string, environment: Record<string, string>) => {
    const spec = runner.spec(script, { workers: 1 }, environment);
    spec.log.secrets = Object.values(environment);
    const error = await runner.boot(spec).then(
      () => assert.fail('it booted'),
      (failed: Error) => failed,
    );
    assert.equal(shows(`${error.stack} ${JSON.stringify(error)}`), undefined);
    return error.message;
  };
  assert.match(await boot('secrets.cjs', { LINE: line, FAIL: 'yes' }), /failing with ••••••/);
  // Users cannot set such a value, but the engine would quote it.
  assert.match(await boot('plain.cjs', { VALUE: withNul }), /null bytes/);
  assert.equal(shows(runner.output), undefined);
});

test('a call that is not JSON ends its connection; the runner survives and does not quote the call (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const { pid } = runner.process;
  for (const text of [`{"id":1,"call":"boot","params":{"env":"${inCall}"`, 'null', '5', '"text"', '{}x']) {
    const socket = connect(runner.paths.runnerSocket);
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.on('error', () => undefined);
    socket.resume();
    socket.write(`${text}\n`);
    await closed;
  }
  await runner.client.call('status', {});
  assert.equal(runner.process.pid, pid);
  assert.equal(shows(runner.output), undefined);
});

test('the error for a file that is not JSON does not quote the file', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'sluice-test-'));
  t.after(() => rm(directory, { recursive: true }));
  const secret = capitals(30, 7);
  for (const text of [
    secret,
    `{"a":"${secret}"`,
    `{"a":"${secret}\n"}`,
    `["${secret}" x]`,
    `{"a":"${secret}\\x"}`,
  ]) {
    const path = join(directory, 'file.json');
    await writeFile(path, text);
    await assert.rejects(readJson(path), (error: Error) => {
      const told = `${error.stack} ${(error.cause as Error).stack}`;
      return !told.includes(secret.slice(0, 6)) && told.includes('is not valid JSON');
    });
    assert.equal(await readFile(path, 'utf8'), text);
  }
});
