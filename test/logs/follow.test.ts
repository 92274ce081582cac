import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { readLog } from '../../src/logs/read.ts';
import { LogWriter } from '../support/log-writer.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

interface Follower {
  heard: string[];
  /** the reader stands still while it is set */
  pause: Promise<void> | undefined;
}

/** Reads on until the test ends. */
function follow(t: TestContext, directory: string, lines: number | null = null): Follower {
  const stop = new AbortController();
  const follower: Follower = { heard: [], pause: undefined };
  const query = { lines, filter: {}, follow: true, signal: stop.signal };
  const reading = (async () => {
    for await (const { text } of readLog(directory, query)) {
      follower.heard.push(text);
      await follower.pause;
    }
  })();
  t.after(async () => {
    stop.abort();
    await reading;
  });
  return follower;
}

async function directoryFor(t: TestContext): Promise<string> {
  return join(await temporaryDirectory(t), 'logs');
}

test('a log that does not exist yet is followed from its beginning', async (t) => {
  const directory = await directoryFor(t);
  const { heard } = follow(t, directory);
  await new Promise(setImmediate);
  const log = new LogWriter(directory);
  log.line('one');
  await waitFor(() => heard.length === 1, { what: 'the first line' });
  log.rotate();
  log.line('two');
  await waitFor(() => heard.length === 2, { what: 'the second line' });
  assert.deepEqual(heard, ['one', 'two']);
});

test('a line is read when its end has come, and a long line when its last part has', async (t) => {
  const log = new LogWriter(await directoryFor(t));
  log.line('first');
  const { heard } = follow(t, log.directory, 10);
  await waitFor(() => heard.length === 1);
  log.bytes('2026-01-01T00:00:00.000Z 1 web.0 out be');
  log.line('ginning');
  log.line('to be ', { continued: true });
  log.line('other', { process: 'web.1' });
  await waitFor(() => heard.length === 3);
  log.line('continued');
  await waitFor(() => heard.length === 4);
  assert.match(heard[1] ?? '', /^be20.* ginning$/);
  assert.deepEqual(heard.slice(2), ['other', 'to be continued']);
});

test('a follower loses and repeats no line while the log is written, rotated and compressed at random', async (t) => {
  const log = new LogWriter(await directoryFor(t));
  const total = 20_000;
  let written = 0;
  const write = (count: number) => {
    const texts = Array.from(
      { length: count },
      (_, index) => `${written + index} ${'x'.repeat((written + index) % 90)}`,
    );
    written += count;
    log.lines(texts);
  };
  write(500);
  log.rotate();
  log.compressAll();
  write(300);
  const followers = [
    follow(t, log.directory, null),
    follow(t, log.directory, 600),
    follow(t, log.directory, 0),
  ];
  // The one that begins with no lines has begun when it has told one.
  const allHeard = () => {
    write(1);
    return followers.every(({ heard }) => heard.length > 0);
  };
  await waitFor(allHeard, { interval: 1 });
  let random = 1;
  const chance = (of: number) => {
    random = (random * 48_271) % 2_147_483_647;
    return random % of === 0;
  };
  while (written < total) {
    write(1 + (random % 40));
    if (chance(3)) log.rotate();
    if (chance(7)) log.compressAll();
    if (chance(4)) await new Promise(setImmediate);
    if (chance(50))
      await Promise.all(
        followers.map(({ heard }) =>
          waitFor(() => heard.at(-1)?.startsWith(`${written - 1} `), { interval: 1 }),
        ),
      );
  }
  const last = `${written - 1} `;
  for (const { heard } of followers) {
    await waitFor(() => heard.at(-1)?.startsWith(last), { what: 'the last line' });
    const first = Number.parseInt(heard[0] ?? '', 10);
    assert.deepEqual(
      heard.map((text) => Number.parseInt(text, 10)),
      Array.from({ length: written - first }, (_, index) => first + index),
    );
  }
  assert.equal(followers[0]?.heard.length, written);
});

test('a file that is removed while it is read is read to its end, and a file that was not begun is skipped', async (t) => {
  const log = new LogWriter(await directoryFor(t));
  const block = (name: string) => log.lines(Array.from({ length: 5000 }, (_, index) => `${name} ${index}`));
  block('a');
  const { promise, resolve } = Promise.withResolvers<void>();
  const follower = follow(t, log.directory);
  follower.pause = promise;
  await waitFor(() => follower.heard.length > 0);
  log.remove(log.rotate());
  block('b');
  log.remove(log.rotate());
  block('c');
  log.compress(log.rotate());
  block('d');
  follower.pause = undefined;
  resolve();
  await waitFor(() => follower.heard.at(-1) === 'd 4999', { what: 'the last line' });
  const ofFile = (name: string) => follower.heard.filter((text) => text.startsWith(name)).length;
  assert.deepEqual(['a', 'b', 'c', 'd'].map(ofFile), [5000, 0, 5000, 5000]);
});

test('a follower ends when its signal aborts', async (t) => {
  const log = new LogWriter(await directoryFor(t));
  log.line('one');
  const stop = new AbortController();
  const lines = readLog(log.directory, { lines: 1, filter: {}, follow: true, signal: stop.signal });
  assert.equal((await lines.next()).value?.text, 'one');
  const waiting = lines.next();
  stop.abort();
  assert.deepEqual(await waiting, { value: undefined, done: true });
});
