import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as v from 'valibot';
import { reportsDamagedCache } from '../../src/build/failures/damaged-cache.ts';
import { diagnose } from '../../src/build/failures/diagnose.ts';
import { appSettingsSchema } from '../../src/config/app-settings.ts';
import { Masker } from '../../src/system/text/mask/masker.ts';
import { printable } from '../../src/system/text/printable.ts';

/** Limits the CPU time, in ms: enough for a slow machine. A search whose time grows with the square of the length takes minutes. */
const mostCpu = 3000;

const lineLength = 16 * 1024;
const textLength = 1024 * 1024;

function fill(piece: string, length: number): string {
  return piece.repeat(Math.ceil(length / piece.length)).slice(0, length);
}

/** Fails if `work` takes too much CPU time. */
function assertQuick(what: string, work: () => unknown): void {
  const measured = startMeasure(what);
  work();
  measured();
}

/** @returns a function that fails if too much CPU time has passed */
function startMeasure(what: string): () => void {
  const before = process.cpuUsage();
  return () => check(what, before);
}

function check(what: string, before: NodeJS.CpuUsage): void {
  const { user, system } = process.cpuUsage(before);
  const ms = (user + system) / 1000;
  assert.ok(ms < mostCpu, `${what} took ${Math.round(ms)} ms`);
}

test('the time to search the output of a failed build grows only with its length', async () => {
  for (const piece of [
    'npm error ENOENT ',
    'npm error code ',
    'Extracting tar content of ',
    'ENOENT.yarn-',
    'sh: ',
    'Request failed \\',
    'lockfile would have been ',
    'gyp ERR! ',
    'error: ',
    'error: Package ',
    'Cannot find module ',
    "Cannot find module './a' ",
    'lib',
    'A_',
    'missing env ',
    'ECONNREFUSED ',
    '/a',
    '<',
    ': ',
    ' ',
  ]) {
    const line = fill(piece, lineLength);
    const output = Array.from({ length: 400 }, () => line);
    for (const occasion of ['install', 'build', 'boot'] as const) {
      const measured = startMeasure(`${occasion}: ${piece}`);
      await diagnose({ occasion, app: 'shop', directory: '/app', command: '', output });
      measured();
    }
    assertQuick(piece, () => reportsDamagedCache(output.join('\n')));
  }
});

test('the time to check settings grows only with their length', () => {
  for (const piece of ['a', ' ', '\t', 'a ', '-', '/', './', '*', '1,', '\u0080']) {
    for (const end of ['\u0001', '\0', '\n', '']) {
      const text = fill(piece, textLength) + end;
      for (const settings of [
        { start: text },
        { processes: { worker: text } },
        { processes: { worker: { command: text } } },
        { hooks: { preBuild: text } },
        { cron: [{ schedule: text, command: text }] },
        { cron: [{ schedule: '* * * * *', request: text }] },
        { health: { path: text, status: text, headers: { [text]: text } } },
        { branches: { production: text } },
        { build: { command: text } },
        { root: text },
        { shared: [text] },
        { drainTimeout: text },
        { memoryLimit: text },
      ])
        assertQuick(JSON.stringify(settings).slice(0, 60), () => v.safeParse(appSettingsSchema, settings));
    }
  }
});

test('the time to make text safe for a terminal grows only with its length', () => {
  const esc = '\u001b';
  for (const piece of [
    `${esc}]`,
    `${esc}P`,
    `${esc}]0;a`,
    `${esc}[`,
    `${esc}[0;`,
    '\u009d',
    '\u009b',
    '\u009b0',
    esc,
    `${esc} `,
    '\r',
  ]) {
    assertQuick(JSON.stringify(piece), () => printable(fill(piece, textLength), true));
    assertQuick(JSON.stringify(piece), () => printable(piece + fill('0', textLength), true));
    assertQuick(JSON.stringify(piece), () => printable(piece + fill(' ', textLength), true));
  }
});

test('the time to mask values grows only with the length of the text', () => {
  const value = 'first-half-of-a-secret second-half-of-a-secret';
  const masker = new Masker([value]);
  for (const blank of [' ', '\n', ' \n', '\t']) {
    const text = value.replace(' ', `\n${fill(blank, lineLength * 4)}\n`);
    assertQuick(JSON.stringify(blank), () => {
      for (let round = 0; round < 8; round += 1) masker.mask(text);
    });
  }
});
