import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { GenerationSpec } from '../../src/protocol/runner.ts';
import { Load, orderViolations } from '../support/load.ts';
import { apps, TestRunner } from '../support/runner.ts';
import { waitFor } from '../support/wait.ts';

const file = (name: string) => JSON.stringify(join(apps, name));

/** Commands that start Node.js in another process. */
const commands = {
  'a shell script': `true; node ${file('plain.cjs')}; echo ended`,
  'a pipeline': `node ${file('plain.cjs')} | cat`,
  'a wrapper': `node ${file('run-all.cjs')} 'node ${file('plain.cjs')}' 'sleep 1000'`,
  'node:cluster': `node ${file('cluster.cjs')}`,
  'replaced NODE_OPTIONS': `NODE_OPTIONS=--max-old-space-size=100 node ${file('plain.cjs')}; exit 1`,
};

for (const [name, command] of Object.entries(commands)) {
  test(`${name} loses no request and keeps the order over 20 switches under load (thorough)`, (t) =>
    switchUnderLoad(t, command, 20));
}

test('a command that starts Node.js loses no request and keeps the order over switches under load', (t) =>
  switchUnderLoad(t, commands['node:cluster'], 3));

async function switchUnderLoad(t: TestContext, command: string, switches: number): Promise<void> {
  const runner = await TestRunner.start(t);
  await runner.release(execSpec(runner, command));
  const load = new Load(runner.port);
  t.after(() => load.stop());
  for (let count = 0; count < switches; count += 1) {
    const before = load.answered;
    await waitFor(() => load.answered > before + 24, { what: 'the load' });
    await runner.release(execSpec(runner, command));
  }
  const { samples, errors } = await load.stop();
  t.diagnostic(`${switches} switches, ${samples.length} requests, ${errors.length} lost`);
  assert.deepEqual(errors, []);
  assert.deepEqual(orderViolations({ samples }), []);
  assert.equal(new Set(samples.map(({ mark }) => mark)).size, switches + 1);
}

function execSpec(runner: TestRunner, command: string, settings: object = {}): GenerationSpec {
  const spec = runner.spec('', { workers: 1, ...settings });
  return { ...spec, exec: { command, reason: 'it is a test' } };
}
