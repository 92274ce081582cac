import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { temporaryDirectory } from '../support/temporary.ts';

const channel = fileURLToPath(new URL('../../src/worker/channel.cjs', import.meta.url));

const worker = `
const { existsSync } = require('node:fs');
const { post } = require(${JSON.stringify(channel)}).openChannel(3, {
  message: ({ type }) => console.log(type),
  appMessage: () => undefined,
  lost: () => console.log('lost'),
});
post({ type: 'opened' });
console.log('up');
setTimeout(() => {
  while (!existsSync(process.argv[1]));
  // The runner ended without reading the first message.
  for (let times = 0; times < 3; times += 1) post({ type: 'opened' });
  setTimeout(() => undefined, 200);
});
`;

test('a worker reads all messages that the runner sent before it died, even if the worker can no longer send any', async (t) => {
  const dead = join(await temporaryDirectory(t), 'dead');
  const child = spawn(process.execPath, ['--eval', worker, dead], {
    stdio: ['ignore', 'pipe', 'inherit', 'pipe'],
  });
  t.after(() => child.kill('SIGKILL'));
  const runner = child.stdio[3] as Socket;
  const stdout = child.stdout as Readable;
  const [first] = await once(stdout, 'data');
  const said = text(stdout);
  runner.write('{"type":"open"}\n{"type":"retire"}\n');
  runner.destroy();
  await once(runner, 'close');
  await writeFile(dead, '');
  assert.equal(`${first}${await said}`, 'up\nopen\nretire\nlost\n');
});
