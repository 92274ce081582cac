import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { openTerminal } from '../../src/runner/one-off/terminal.ts';

test('a terminal that does not read its sizes lets no memory grow, and gets the newest size', async () => {
  const got: string[] = [];
  let read: (() => void) | undefined;
  const control = new Duplex({
    read: () => undefined,
    write(chunk: Buffer, _encoding, done) {
      got.push(chunk.toString());
      if (read === undefined) read = done;
      else done();
    },
  });
  const terminal = openTerminal({ rows: 24, columns: 80 });
  const { resize } = terminal.started({ stdio: [null, null, null, control] } as unknown as ChildProcess);
  for (let at = 1; at <= 99_990; at += 1) resize?.({ rows: Math.ceil(at / 10), columns: 80 });
  assert.ok(control.writableLength < 128 * 1024, `${control.writableLength} bytes wait`);
  const drained = new Promise((resolve) => control.once('drain', resolve));
  read?.();
  await drained;
  await new Promise((resolve) => control.end(resolve));
  assert.equal(got.at(-1), '9999 80\n');
});
