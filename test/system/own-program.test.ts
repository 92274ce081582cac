import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { glob, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { ownProgram } from '../../src/system/process/own-program.ts';

const root = resolve(import.meta.dirname, '../..');

/** Files that pass our whole environment on, to a program that runs in place of us. */
const passOn = new Set(['src/cli/commands/up.ts', 'src/cli/commands/upgrade.ts', 'src/server/up.ts']);

test('a program that Sluice starts for itself has no variable of ours but PATH, and not our working directory', async () => {
  const { NODE_PATH } = process.env;
  process.env['NODE_PATH'] = 'inherited';
  try {
    const { stdout } = await promisify(execFile)('/bin/sh', ['-c', 'pwd; env'], {
      ...ownProgram({ EXTRA: 'given' }),
    });
    const [directory, ...variables] = stdout.trim().split('\n');
    assert.equal(directory, '/');
    const names = variables.map((variable) => variable.split('=', 1)[0]).filter((name) => name !== '_');
    assert.deepEqual(names.toSorted(), [
      'EXTRA',
      'HOME',
      'LC_ALL',
      'NODE_DISABLE_COMPILE_CACHE',
      'PATH',
      'PWD',
    ]);
  } finally {
    if (NODE_PATH === undefined) delete process.env['NODE_PATH'];
    else process.env['NODE_PATH'] = NODE_PATH;
  }
});

test('whatever starts a program says which environment the program gets', async () => {
  let starts = 0;
  for await (const file of glob('{src,hooks,config}/**/*.{ts,cjs,mjs,js}', { cwd: root })) {
    const code = await readFile(join(root, file), 'utf8');
    if (!/['"](?:node:)?child_process['"]/.test(code)) continue;
    for (const call of callsIn(code)) {
      starts += 1;
      const named = namesEnvironment(call) && (passOn.has(file) || !/\bprocess\.env\b/.test(call));
      assert.ok(named, `${file} lets a program inherit our environment: ${call}`);
    }
    assert.doesNotMatch(
      code,
      /= promisify\(\w+\)(?!\()|import \{[^}]*\b(?:spawn|execFile) as/,
      `${file}: the search sees no alias`,
    );
  }
  assert.ok(starts > 20, `${starts} calls were found`);
});

test('the search for calls without an environment finds them', () => {
  const code = "promisify(execFile)('du', ['(', x]); spawn('a', { env: f(1) }); fork('b', { cwd })";
  const calls = callsIn(code);
  assert.deepEqual(calls.map(namesEnvironment), [false, true, false]);
});

/** Returns the text of each call of a function that starts a program. */
function callsIn(code: string): string[] {
  const names =
    /(?<![\w.#])(?:promisify\((?:execFile|exec)\)|spawn|spawnSync|execFile|execFileSync|execSync|exec|fork|spawnCaptured)\(/g;
  return [...code.matchAll(names)]
    .filter(({ index }) => !/(?:function|async) $/.test(code.slice(0, index)))
    .map((match) => code.slice(match.index, endOf(code, match.index + match[0].length)));
}

/** Returns where the parenthesis ends that begins before `start`. Those in quotes do not count. */
function endOf(code: string, start: number): number {
  let depth = 1;
  for (const token of code.slice(start).matchAll(/'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[()]/g)) {
    if (token[0] === '(') depth += 1;
    else if (token[0] === ')') depth -= 1;
    if (depth === 0) return start + token.index + 1;
  }
  return code.length;
}

function namesEnvironment(call: string): boolean {
  return /\benv\b|\.\.\.ownProgram\(|\.\.\.as\(/.test(call);
}
