import assert from 'node:assert/strict';
import { test } from 'node:test';
import { skippedScripts } from '../../src/build/install/install-output.ts';

function messages(...output: string[]): string[] {
  return skippedScripts(output).map(({ message }) => message);
}

test('install scripts that pnpm skipped are reported', () => {
  const box = [
    '╭ Warning ─────────────────────────────────────────────────────────────────────╮',
    '│   Ignored build scripts: better-sqlite3@12.0.0, esbuild@0.25.0.              │',
    '│   Run "pnpm approve-builds" to pick which dependencies should be allowed     │',
  ];
  assert.deepEqual(messages(...box), ['Install scripts were not run: better-sqlite3@12.0.0, esbuild@0.25.0']);
});

test('install scripts that npm skipped are reported', () => {
  const output = [
    'npm warn install-scripts 2 packages had install scripts blocked because they are not covered by allowScripts:',
    'npm warn install-scripts   esbuild@0.25.0 (postinstall: node install.js)',
    'npm warn install-scripts   sharp@0.34.0 (install: node install/check)',
    'npm warn install-scripts',
  ];
  assert.deepEqual(messages(...output), ['Install scripts were not run: esbuild@0.25.0, sharp@0.34.0']);
});

test('install scripts that yarn skipped are reported', () => {
  const line =
    '➤ YN0004: │ esbuild@npm:0.25.0 lists build scripts, but all build scripts have been disabled.';
  assert.deepEqual(messages(line), ['Install scripts were not run: esbuild@npm:0.25.0']);
});

test('install scripts that npm 11 lists and runs are not reported', () => {
  const output = [
    'npm warn install-scripts 1 package has install scripts not yet covered by allowScripts:',
    'npm warn install-scripts   esbuild@0.25.0 (postinstall: node install.js)',
    'added 2 packages in 1s',
  ];
  assert.deepEqual(messages(...output), []);
});

test('the search in long lines of a hostile app is short', () => {
  const before = process.cpuUsage();
  for (const part of ['YN0004: ', 'npm warn install-scripts ', 'Ignored build scripts: ']) {
    const output = Array(400).fill(part.repeat(16_384 / part.length));
    messages(...output);
  }
  const { user } = process.cpuUsage(before);
  assert.ok(user < 3e6, `${user} µs`);
});
