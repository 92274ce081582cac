import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isAlive } from '../../src/system/process/processes.ts';
import { execCommands, execSpec } from '../support/exec.ts';
import { Load, orderViolations } from '../support/load.ts';
import { TestRunner } from '../support/runner.ts';
import { waitFor } from '../support/wait.ts';

for (const [name, command] of Object.entries(execCommands)) {
  test(`${name} keeps serving after the death of the runner, and the next runner replaces it in order (thorough)`, async (t) => {
    const runner = await TestRunner.start(t);
    await runner.release(execSpec(runner, command));
    const [old] = (await runner.client.call('status', {}))[0]?.workers ?? [];
    assert.ok(old);
    const load = new Load(runner.port);
    t.after(() => load.stop());
    const more = async (what: string) => {
      const before = load.answered;
      await waitFor(() => load.answered > before + 100, { what });
    };
    await more('answers before the death of the runner');
    await runner.kill();
    await more('answers without a runner');
    await runner.launch();
    await more('answers under the next runner');
    await runner.release(execSpec(runner, command));
    await more('answers of the next release');
    await waitFor(() => !isAlive(-old.pid), { what: 'the end of the old processes' });
    const { samples, errors } = await load.stop();
    t.diagnostic(`${samples.length} answered, ${errors.join(', ') || 'none lost'}`);
    // The kernel resets connections that wait on the socket of the runner that has died.
    assert.deepEqual(
      errors.filter((error) => !/connection closed|ECONNRESET/.test(error)),
      [],
    );
    assert.ok(errors.length <= 24, 'more than one connection of a client');
    assert.deepEqual(orderViolations({ samples }), []);
    assert.deepEqual([...new Set(samples.map(({ mark }) => mark))].sort(), [1, 2]);
  });
}
