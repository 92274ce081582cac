import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readlink } from 'node:fs/promises';
import { type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { Activity } from '../../src/server/activity.ts';
import { exitStatus } from '../../src/server/program.ts';
import { untilAtRest } from '../../src/server/rest.ts';
import { createLog } from '../../src/system/log/log.ts';
import { answering } from '../support/apps.ts';
import { fetchOnce } from '../support/http.ts';
import { Units } from '../support/units.ts';
import { waitFor } from '../support/wait.ts';

test('a server rests when it has had no work for the time, and work in between begins the time again', async () => {
  const time = new TestTime();
  const activity = new Activity(() => time.now);
  time.at(100, () => time.at(128, activity.begin()));
  time.at(150, () => {
    time.isBusy = true;
  });
  time.at(171, () => {
    time.isBusy = false;
  });
  await time.untilAtRest(activity);
  // The last check that found work was at 170.
  assert.equal(time.now, 290);
  assert.equal(time.prepared, 1);
});

test('a server does not rest if work comes while its next start is arranged', async () => {
  const time = new TestTime();
  const activity = new Activity(() => time.now);
  time.prepare = async () => {
    if (time.prepared === 1) time.at(time.now + 1, activity.begin());
  };
  await time.untilAtRest(activity);
  assert.equal(time.prepared, 2);
  assert.ok(time.now > 240, `rested at ${time.now}`);
});

test('a server does not rest while nobody would start it again', async () => {
  const time = new TestTime();
  time.prepare = async () => {
    if (time.now < 1000) throw new Error('no runner');
  };
  await time.untilAtRest(new Activity(() => time.now));
  assert.ok(time.now >= 1000);
});

test('a server without work ends, its app serves, and its sockets keep connections for the next server', async (t) => {
  const sluice = await Units.create(t);
  await sluice.start();
  await sluice.deploy('shop', answering('one'));
  const { url } = (await sluice.status()).apps[0] ?? { url: '' };
  assert.equal(await sluice.ended(), exitStatus.atRest);
  assert.equal(await (await fetchOnce(url)).text(), 'one');
  for (const [path, socket] of [
    [sluice.paths.serverSocket, 'server.sock'],
    [sluice.paths.sshSocket, 'push.sock'],
  ] as const)
    assert.equal(await readlink(path), join(sluice.directory, socket));
  const asked = sluice.ways.map((way) => sluice.ask(way));
  await sluice.start();
  assert.deepEqual(await Promise.all(asked), [200, 200, 200, 404]);
  assert.equal((await sluice.status()).apps[0]?.url, url);
});

test('a server does not rest while a client follows an answer', async (t) => {
  const sluice = await Units.create(t);
  await sluice.start();
  const held = request({ ...sluice.ways[2], path: '/v1/hold', method: 'POST', agent: false }).end();
  const [answer] = (await once(held, 'response')) as [IncomingMessage];
  answer.on('error', () => undefined).resume();
  let hasEnded = false;
  void sluice.ended().then(() => {
    hasEnded = true;
  });
  await pause(restSeconds * 4000);
  assert.ok(!hasEnded);
  answer.destroy();
  assert.equal(await sluice.ended(), exitStatus.atRest);
});

test('no request is lost around the moments at which a server rests', async (t) => {
  const sluice = await Units.create(t);
  await sluice.keepStarting();
  const statuses: (number | undefined)[] = [];
  for (let round = 0; round < 24; round += 1) {
    const way = sluice.ways[round % 3] ?? {};
    statuses.push(await sluice.ask(way));
    await pause(restSeconds * 1000 * (0.8 + 0.4 * Math.random()));
  }
  assert.deepEqual(new Set(statuses), new Set([200]));
  assert.ok(sluice.rests > 3, `${sluice.rests} rests`);
});

test('a server whose runner cannot start it again stays', async (t) => {
  const sluice = await Units.create(t, { isWoken: false });
  await sluice.start();
  assert.equal(await sluice.ask(sluice.ways[0] ?? {}), 200);
  await waitFor(() => sluice.output.includes('server does not rest'), { what: 'the reason in the log' });
  assert.equal(await sluice.ask(sluice.ways[0] ?? {}), 200);
});

/** Time without work after which the servers of these tests rest. */
const restSeconds = 0.5;

/** Clock that advances whenever the server waits. */
class TestTime {
  now = 0;
  isBusy = false;
  prepared = 0;
  prepare: () => Promise<void> = async () => undefined;
  #events: [number, () => void][] = [];

  at(time: number, event: () => void): void {
    this.#events.push([time, event]);
  }

  async untilAtRest(activity: Activity): Promise<void> {
    let stopped = 0;
    const stop = () => {
      stopped += 1;
    };
    await untilAtRest(stop, {
      ...{ activity, after: 120, log: createLog(process.stderr.fd, 'server', 'error') },
      isBusy: () => this.isBusy,
      prepare: () => {
        this.prepared += 1;
        return this.prepare();
      },
      pause: async (milliseconds) => {
        this.now += milliseconds;
        const isDue = ([time]: [number, () => void]) => time <= this.now;
        const due = this.#events.filter(isDue);
        this.#events = this.#events.filter((event) => !isDue(event));
        for (const [, happen] of due) happen();
      },
      signal: new AbortController().signal,
    });
    assert.equal(stopped, 1);
  }
}
