import assert from 'node:assert/strict';
import { closeSync, writeSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { AppLogs } from '../../src/logs/app-logs.ts';
import { Outputs } from '../../src/runner/output/outputs.ts';
import { appLog } from '../support/app-log.ts';
import { removeDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

test('the newest 16 outputs of leftover processes are read; each other one is closed once', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'sluice-test-'));
  const faults: string[] = [];
  const fault = (what: string) => faults.push(what);
  const logs = new AppLogs(async () => [], fault);
  const outputs = new Outputs(join(directory, 'outputs'), logs, fault);
  const log = {
    ...{ directory: join(directory, 'logs'), size: 2 ** 20, maxBytes: 2 ** 20, keep: 1 },
    ...{ schedule: '0 0 * * *', overflow: 'wait' as const, secrets: [] },
  };
  const names = Array.from({ length: 20 }, (_, index) => `web.${index}`);
  const open = await Promise.all(names.map((process) => outputs.open(log, { release: 1, process })));
  // The test holds them open, as a process that another one has left behind.
  const held = open.flatMap((output) => output.open());
  t.after(async () => {
    for (const fd of held) closeSync(fd);
    await outputs.stop();
    await logs.closeAll();
    await removeDirectory(directory);
  });
  for (const output of open) output.capture();
  assert.equal(outputs.descriptors(log.directory), 40);
  // The log gets the begun line of an output before the output is closed, while further processes end.
  for (const fd of held) writeSync(fd, 'begun');
  await waitFor(() => open.every((output) => output.everything.lines().length > 0));

  await Promise.all(open.map((output) => output.processEnded()));
  await waitFor(() => outputs.descriptors(log.directory) <= 32, { what: 'the end of four outputs' });
  // This write ends after the writes before it.
  await logs.get(log).write('');
  assert.equal(outputs.descriptors(log.directory), 32);
  const closed = (await appLog(log.directory)).filter(({ text }) => text.includes('no longer reads'));
  assert.deepEqual(closed.map(({ process }) => process).toSorted(), names.slice(0, 4));
  assert.deepEqual(faults, []);
});
