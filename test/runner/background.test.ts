import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { BackgroundSpec, BackgroundStatus, GenerationSpec } from '../../src/protocol/runner.ts';
import { processStartTime } from '../../src/system/process/processes.ts';
import { appLog } from '../support/app-log.ts';
import { apps, TestRunner } from '../support/runner.ts';
import { waitFor } from '../support/wait.ts';

interface Note {
  what: 'begin' | 'end';
  mark: string;
  name: string;
  instance: string;
  pid: number;
  port: string;
}

class Notes {
  readonly path: string;
  constructor(runner: TestRunner) {
    this.path = join(runner.paths.home, 'spans');
  }
  async all(): Promise<Note[]> {
    const text = await readFile(this.path, 'utf8').catch(() => '');
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line));
  }
}

function withBackground(
  runner: TestRunner,
  notes: Notes,
  background: Partial<BackgroundSpec> = {},
  settings: object = {},
  env: Record<string, string> = {},
): GenerationSpec {
  const spec = runner.spec('plain.cjs', { workers: 1, ...settings });
  return {
    ...spec,
    background: [
      {
        name: 'mail',
        count: 1,
        nodeArgs: [],
        script: join(apps, 'background.cjs'),
        args: [],
        env: { SPANS: notes.path, ...env },
        overlap: false,
        ...background,
      },
    ],
  };
}

async function background(runner: TestRunner): Promise<BackgroundStatus[]> {
  return (await runner.client.call('status', {}))[0]?.background ?? [];
}

/** Waits until all background processes of a release run and have logged a line. */
async function running(
  runner: TestRunner,
  notes: Notes,
  count: number,
  { release }: GenerationSpec,
): Promise<BackgroundStatus[]> {
  return waitFor(async () => {
    const begun = new Set((await notes.all()).map(({ pid }) => pid));
    const all = (await background(runner)).filter(
      (each) => each.state === 'running' && each.release === release && begun.has(each.pid ?? 0),
    );
    return all.length === count && all;
  });
}

test('a command of a background process runs in a shell, and ends with its processes', async (t) => {
  const runner = await TestRunner.start(t);
  const file = join(runner.paths.home, 'pid');
  const exec = 'sleep 1000 & echo $! > "$PID_FILE"; wait';
  const spec = withBackground(runner, new Notes(runner), { exec }, {}, { PID_FILE: file });
  await runner.release(spec);
  const child = await waitFor(async () => Number(await readFile(file, 'utf8').catch(() => '')) || false);
  const [status] = await background(runner);
  assert.equal(status?.state, 'running');
  await runner.client.call('stop', { key: spec.key });
  for (const pid of [status?.pid ?? 0, child]) await waitFor(() => processStartTime(pid) === undefined);
});

test('at a switch, the new background processes start when the old ones are gone', async (t) => {
  const runner = await TestRunner.start(t);
  const notes = new Notes(runner);
  const first = withBackground(runner, notes, { count: 2 }, {}, { LINGER: '300' });
  await runner.release(first);
  await running(runner, notes, 2, first);
  const second = withBackground(runner, notes, { count: 2 });
  await runner.release(second);
  const now = await running(runner, notes, 2, second);
  assert.deepEqual(now.map(({ name, instance }) => `${name}.${instance}`).sort(), ['mail.0', 'mail.1']);
  await waitFor(async () => (await notes.all()).length === 6);
  const order = (await notes.all()).map(
    ({ what, mark }) => `${what} ${mark === String(first.release) ? 'old' : 'new'}`,
  );
  assert.deepEqual(order, ['begin old', 'begin old', 'end old', 'end old', 'begin new', 'begin new']);
  await waitFor(async () => {
    const log = await appLog(second.log.directory);
    return log.some(
      ({ process, text }) => process === 'mail.1' && text === `mail 1 of ${second.release} works`,
    );
  });
});

test('variables of a background command take precedence, PORT too (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const notes = new Notes(runner);
  const spec = withBackground(runner, notes, {}, {}, { PORT: '9', MARK: 'own' });
  await runner.release(spec);
  await running(runner, notes, 1, spec);
  const [note] = await notes.all();
  assert.deepEqual([note?.port, note?.mark], ['9', 'own']);
});

test('with `overlap`, new background processes start while the old ones run (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const notes = new Notes(runner);
  const over = join(runner.paths.home, 'over');
  const settings = { killTimeout: '60s' };
  const first = withBackground(runner, notes, { overlap: true }, settings, { LINGER_UNTIL: over });
  await runner.release(first);
  await running(runner, notes, 1, first);
  const second = withBackground(runner, notes, { overlap: true }, settings);
  await runner.release(second);
  await waitFor(async () => (await notes.all()).length === 2);
  await writeFile(over, '');
  await waitFor(async () => (await notes.all()).length === 3);
  assert.deepEqual(
    (await notes.all()).map(({ what }) => what),
    ['begin', 'begin', 'end'],
  );
});

test('a generation that differs in its workers keeps the background processes that are the same', async (t) => {
  const runner = await TestRunner.start(t);
  const notes = new Notes(runner);
  const first = withBackground(runner, notes, {}, { drainTimeout: 100 });
  const [mail] = first.background as [BackgroundSpec];
  const other: BackgroundSpec = { ...mail, name: 'other' };
  await runner.release({ ...first, background: [mail, other] });
  const pids = async () => {
    const all = await running(runner, notes, 2, first);
    return Object.fromEntries(all.map(({ name, pid }) => [name, pid]));
  };
  const before = await pids();
  const changed: BackgroundSpec = { ...other, env: { ...other.env, MARK: 'changed' } };
  const second = { ...first, workers: 2, keepsBackground: true as const };
  const booted = await runner.release({ ...second, background: [mail, changed] });
  await waitFor(async () => {
    const [status] = await runner.client.call('status', {});
    return status?.workers.every(({ generation }) => generation === booted.generation);
  });
  await waitFor(async () => (await notes.all()).length === 4, { what: 'the other process, again' });
  const after = await pids();
  assert.equal(after['mail'], before['mail']);
  assert.notEqual(after['other'], before['other']);
  // As a restart, which keeps none.
  await runner.release({ ...second, keepsBackground: undefined } as unknown as GenerationSpec);
  await waitFor(async () => (await background(runner)).every(({ pid }) => pid !== before['mail']));
  await waitFor(() => processStartTime(before['mail'] ?? 0) === undefined, {
    what: 'the end of the process',
  });
});

test('the first scale after a move to another port keeps the background processes', async (t) => {
  const runner = await TestRunner.start(t);
  const notes = new Notes(runner);
  const moved = withBackground(runner, notes);
  const { key } = moved;
  const { generation } = await runner.boot({ ...moved, takesPort: true });
  await runner.client.call('takePort', { key, generation, within: 10_000 });
  await runner.client.call('switch', { key, generation });
  const [before] = await running(runner, notes, 1, moved);
  await runner.release({ ...moved, workers: 2, keepsBackground: true });
  await runner.client.call('replaced', { key });
  const [after] = await running(runner, notes, 1, moved);
  assert.equal(after?.pid, before?.pid);
});

test('a restart of a background process is done also if a scale comes before its turn', async (t) => {
  const runner = await TestRunner.start(t);
  const notes = new Notes(runner);
  const over = join(runner.paths.home, 'over');
  const first = withBackground(runner, notes, {}, { killTimeout: '60s' });
  const [mail] = first.background as [BackgroundSpec];
  const slow = { ...mail, name: 'slow', env: { ...mail.env, LINGER_UNTIL: over } };
  const spec = { ...first, background: [mail, slow] };
  await runner.release(spec);
  const pids = async () => {
    const all = await running(runner, notes, 2, first);
    return Object.fromEntries(all.map(({ name, pid }) => [name, pid]));
  };
  const before = await pids();
  const restart = (process: string) => runner.client.call('restartProcess', { key: first.key, process });
  const restarted = [restart('slow'), restart('mail')];
  const refused = assert.rejects(restart('nonsense'), { code: 'process_not_found' });
  await runner.release({ ...spec, workers: 2, keepsBackground: true });
  await writeFile(over, '');
  await Promise.all([...restarted, refused]);
  await runner.client.call('replaced', { key: first.key });
  const after = await pids();
  assert.notEqual(after['mail'], before['mail']);
  assert.notEqual(after['slow'], before['slow']);
  assert.equal((await notes.all()).length, 6, 'each process ends once, and starts once');
  const log = (await appLog(first.log.directory)).map(({ text }) => text);
  assert.ok(log.includes('mail was restarted'));
  assert.ok(!log.some((text) => text.includes('nonsense')));
});

test('a deploy reports a background process that fails although the old one takes long to end', async (t) => {
  const runner = await TestRunner.start(t);
  const notes = new Notes(runner);
  const first = withBackground(runner, notes, {}, {}, { LINGER: '1500' });
  await runner.release(first);
  await running(runner, notes, 1, first);
  const second = withBackground(runner, notes, { exec: 'exit 3' }, { settleTime: 1000 });
  await runner.release(second);
  const failing = await runner.client.call('failing', { key: first.key });
  assert.deepEqual(
    failing.map(({ name, release }) => [name, release]),
    [['mail', second.release]],
  );
});

test('a background process that does not end is killed after killTimeout (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const notes = new Notes(runner);
  const settings = { killTimeout: 300 };
  const first = withBackground(runner, notes, {}, settings, { LINGER: '60000' });
  await runner.release(first);
  await running(runner, notes, 1, first);
  const second = withBackground(runner, notes, {}, settings);
  await runner.release(second);
  await running(runner, notes, 1, second);
  assert.deepEqual(
    (await notes.all()).map(({ what }) => what),
    ['begin', 'begin'],
  );
});

test('a background process that dies, or takes too much memory, is restarted (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const notes = new Notes(runner);
  const spec = withBackground(runner, notes);
  await runner.release(spec);
  const [process_] = await running(runner, notes, 1, spec);
  process.kill(process_?.pid ?? 0, 'SIGKILL');
  const again = await waitFor(async () => {
    const [one] = await background(runner);
    return one?.state === 'running' && one.pid !== null && one.pid !== process_?.pid && one;
  });
  assert.equal(again.restarts, 1);

  const fat = withBackground(runner, notes, {}, { maxMemory: '32M' });
  fat.maxMemory = 10 * 1024 ** 2;
  await runner.release(fat);
  const restarted = await waitFor(async () => {
    const [one] = await background(runner);
    return (one?.restarts ?? 0) > 0 && one?.release === fat.release && one;
  });
  assert.ok(restarted);
  const wanted = /^mail\.0 \(pid \d+\) takes .* \("maxMemory"\), and is restarted$/;
  await waitFor(
    async () =>
      (await appLog(fat.log.directory)).some(({ stream, text }) => stream === 'sys' && wanted.test(text)),
    { what: 'a line that says so' },
  );
});

test('background processes survive a killed runner, and the next runner ends them before it starts its own', async (t) => {
  const runner = await TestRunner.start(t);
  const notes = new Notes(runner);
  const first = withBackground(runner, notes, {}, {}, { LINGER: '200' });
  await runner.release(first);
  const [old] = await running(runner, notes, 1, first);
  await runner.kill();
  assert.ok(process.kill(old?.pid ?? 0, 0));
  await runner.launch();
  const second = withBackground(runner, notes);
  await runner.release(second);
  await running(runner, notes, 1, second);
  assert.deepEqual(
    (await notes.all()).map(({ what }) => what),
    ['begin', 'end', 'begin'],
  );
});

test('a stop ends the background processes for good (thorough)', async (t) => {
  const runner = await TestRunner.start(t);
  const notes = new Notes(runner);
  const spec = withBackground(runner, notes);
  await runner.release(spec);
  await running(runner, notes, 1, spec);
  await runner.client.call('stop', { key: spec.key });
  const noted = await notes.all();
  assert.deepEqual(
    noted.map(({ what }) => what),
    ['begin', 'end'],
  );
  assert.equal(await processStartTime(noted[0]?.pid ?? 0), undefined);
  // A start of the app itself is all that brings them back.
  await runner.release(spec);
  await running(runner, notes, 1, spec);
  assert.equal((await notes.all()).length, 3);
});
