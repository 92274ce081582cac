import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { openSync } from 'node:fs';
import { test } from 'node:test';
import type { BackgroundSpec, GenerationSpec } from '../../src/protocol/runner.ts';
import type { ProcessContext } from '../../src/runner/app-process.ts';
import { BackgroundProcesses } from '../../src/runner/background/background.ts';
import { ProcessRecords } from '../../src/runner/takeover/process-records.ts';
import { descendantsOf } from '../../src/runner/tree-figures.ts';
import { processName } from '../../src/system/process/processes.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

const killTimeout = 10_000;

for (const stopSignal of ['SIGINT', 'SIGQUIT'] as const) {
  test(`a background command ends with ${stopSignal}, also if an earlier runner has started it`, async (t) => {
    const directory = await temporaryDirectory(t);
    const logged: string[] = [];
    const output = {
      open: () => [openSync('/dev/null', 'r+'), openSync('/dev/null', 'r+')],
      ...{ capture: () => undefined, remove: () => undefined, lastLines: () => [] },
      ...{ note: (text: string) => void logged.push(text), end: async () => undefined },
      processEnded: async () => undefined,
    };
    const group = { add: () => undefined, retain: () => () => undefined, killedBy: () => undefined };
    const spec = {
      ...{ key: 'shop', release: 1, directory, env: { PATH: '/usr/bin:/bin' }, maxMemory: null },
      ...{
        restarts: {
          delay: 100,
          maxRestarts: 3,
          minUptime: 0,
          stopExitCodes: [],
          autorestart: true,
          backoff: true,
        },
        log: { secrets: [] },
      },
      background: [
        {
          name: 'queue',
          count: 1,
          overlap: true,
          env: {},
          exec: 'sleep 60; true',
        } as unknown as BackgroundSpec,
      ],
      ...{ stopSignal, killTimeout },
    } as unknown as GenerationSpec;
    const log = (line: string) => void logged.push(line);
    const outputs = { open: async () => output };
    const start = (records: ProcessRecords) =>
      new BackgroundProcesses({
        ...{ key: 'shop', records, outputs, user: () => undefined, log },
      } as unknown as ConstructorParameters<typeof BackgroundProcesses>[0]);
    const records = new ProcessRecords(directory);
    const processes = start(records);
    await processes.replace({ spec, group: group as unknown as ProcessContext['group'] });
    const pid = await waitFor(() => processes.status()[0]?.pid, { what: 'a process' });
    await waitFor(() => runsSleep(pid), { what: 'the command' });
    assert.equal(records.get(pid)?.exec, true);
    await processes.end(killTimeout);
    assert.deepEqual(logged, []);

    const earlier = spawn('/bin/sh', ['-c', 'sleep 60; true'], { detached: true, stdio: 'ignore' });
    const ofEarlier = earlier.pid as number;
    await waitFor(() => runsSleep(ofEarlier), { what: 'the command' });
    new ProcessRecords(directory).add('background', 'shop', ofEarlier, { stopSignal, exec: true });
    await processes.end(killTimeout);
    assert.deepEqual(logged, []);
  });
}

/** Returns true once the shell has started its command: until then the new process is a shell, too. */
function runsSleep(shell: number): boolean {
  return descendantsOf(shell).some((pid) => processName(pid) === 'sleep');
}
