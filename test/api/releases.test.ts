import assert from 'node:assert/strict';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import supertest from 'supertest';
import { answering, running } from '../support/apps.ts';
import { fetchOnce } from '../support/http.ts';
import { pack } from '../support/pack.ts';
import { startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';
import { wholeFile } from '../support/whole-file.ts';

const sluice = await startSluice(wholeFile, { settings: { maxUploadBytes: '4M' } });
const api = supertest(sluice.url);
const admin = { Authorization: `Bearer ${sluice.token}` };
const broken = running('throw new Error("nothing works")');

test('a live release is answered with 201, a failed one with its reason, step and number', async () => {
  const live = await upload('shop', await pack(answering('one'))).expect(201);
  assert.equal(live.body.number, 1);
  assert.equal(live.body.state, 'live');
  assert.equal(await (await fetchOnce(live.body.url)).text(), 'one');

  const failed = await upload('shop', await pack(broken)).expect(422);
  assert.equal(failed.body.error.code, 'boot_exited');
  assert.equal(failed.body.error.step, 'boot');
  assert.match(failed.body.error.message, /nothing works/);
  assert.equal(failed.body.release.number, 2);
  assert.equal(failed.body.release.state, 'failed');
  assert.equal(await (await fetchOnce(live.body.url)).text(), 'one');

  const log = await api.get('/v1/apps/shop/releases/1/log').set(admin).expect(200);
  assert.match(log.text, /boot/);
});

test('the log of a build without lines is empty', async () => {
  await upload('mute', await pack(answering('one'))).expect(201);
  await rm(sluice.paths.environment({ app: 'mute', environment: 'production' }).release(1).buildLog);
  const log = await api.get('/v1/apps/mute/releases/1/log').set(admin).expect(200);
  assert.equal(log.text, '');
});

test('a rollback is answered with the live release, and an unknown release is refused', async () => {
  await upload('back', await pack(answering('one'))).expect(201);
  await upload('back', await pack(answering('two'))).expect(201);
  const back = await api.post('/v1/apps/back/rollback').set(admin).expect(200);
  assert.equal(back.body.number, 1);
  await api.post('/v1/apps/back/rollback').set(admin).send({ release: 9 }).expect(404);
  await api.post('/v1/apps/back/rollback').set(admin).send({ release: 'two' }).expect(400);
  await api.post('/v1/apps/back/rollback').set(admin).send({ relaese: 2 }).expect(400);
});

test('the live log ends with one line for the outcome', async () => {
  const live = await upload('shown', await pack(answering('one')), 'text/plain').expect(200);
  assert.deepEqual(live.text.match(/^-- \w+$/gm)?.slice(0, 2), ['-- receive', '-- wait']);
  assert.match(live.text, /\nlive: http:\/\/127\.0\.0\.1:\d+ release 1 in .+\n$/);
  const failed = await upload('shown', await pack(broken), 'text/plain').expect(200);
  assert.match(failed.text, /nothing works[\s\S]*\nfailed: boot_exited at boot: .+\n$/);
  assert.equal(failed.text.match(/^(?:live|failed):/gm)?.length, 1);
});

test('the live log as JSON has one event per line, and the last event is the outcome', async () => {
  const answer = await upload('events', await pack(answering('one')), 'application/x-ndjson').expect(200);
  const events = answer.text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.equal(events[0].event, 'accepted');
  assert.equal(events.at(-1).event, 'live');
  assert.equal(events.at(-1).release.number, 1);
});

test('a deploy that is refused at once is answered with the status of its error in every format', async () => {
  const tooLarge = Buffer.alloc(5 * 1024 ** 2);
  for (const type of ['application/json', 'text/plain', 'application/x-ndjson']) {
    const answer = await upload('Not_A_Name', tooLarge, type).expect(400);
    assert.match(answer.text, /invalid_name/);
  }
});

for (const [what, headers, status, length] of [
  ['no token', {}, 401, 300 * 1024 ** 2],
  ['too much to send', admin, 413, 300 * 1024 ** 2],
  ['more to send than the disk holds', admin, 413, 1024 ** 5],
] as const) {
  test(`a client with ${what} gets the answer while it is still sending`, async () => {
    const sending = post('/v1/apps/large/releases', { ...headers, 'content-length': length });
    const sent = sendForever(sending);
    const [answer] = (await once(sending, 'response')) as [IncomingMessage];
    assert.equal(answer.statusCode, status);
    assert.equal(answer.headers.connection, 'close');
    sent.stop();
    answer.destroy();
  });
}

test('a client that disconnects after its upload does not stop the deploy', async () => {
  const body = await pack(answering('stubborn'));
  const sending = post('/v1/apps/stubborn/releases', {
    ...admin,
    accept: 'text/plain',
    'content-length': body.length,
  });
  sending.end(body);
  const [answer] = (await once(sending, 'response')) as [IncomingMessage];
  await waitFor(
    async () => (await sluice.status('stubborn')).deploying.length === 0 || answer.readableLength > 0,
  );
  answer.destroy();
  await sluice.untilRunning('stubborn');
  assert.equal(await sluice.get('stubborn'), 'stubborn');
});

test('a client that does not read does not delay the deploy, and sees the outcome later (thorough)', async () => {
  const build = "for (let n = 0; n < 150_000; n++) console.log(n, 'x'.repeat(100))";
  const chatty = {
    ...answering('chatty'),
    'print.js': build,
    'package.json': { name: 'chatty', scripts: { build: 'node print.js', start: 'node server.js' } },
  };
  const sending = post('/v1/apps/chatty/releases', { ...admin, accept: 'text/plain' });
  sending.end(await pack(chatty));
  const [answer] = (await once(sending, 'response')) as [IncomingMessage];
  answer.pause();
  await sluice.untilRunning('chatty');
  const shown = await text(answer);
  assert.match(shown, /\nlive: .+\n$/);
  assert.ok(shown.length < 12_000_000, `${shown.length} characters were kept for it`);
});

test('a deploy under way can be cancelled', async () => {
  const sleeping = { ...answering('late'), 'package.json': { name: 'late', scripts: { build: 'sleep 60' } } };
  const sending = post('/v1/apps/late/releases', { ...admin, accept: 'text/plain' });
  sending.end(await pack(sleeping));
  const [answer] = (await once(sending, 'response')) as [IncomingMessage];
  let shown = '';
  answer.setEncoding('utf8').on('data', (chunk: string) => {
    shown += chunk;
  });
  await waitFor(() => shown.includes('\n-- build\n'), { what: 'the build' });
  await api.post('/v1/apps/late/releases/1/cancel').set(admin).expect(200);
  await waitFor(() => /\nfailed: cancelled/.test(shown), { what: 'the end' });
  await api.post('/v1/apps/late/releases/1/cancel').set(admin).expect(409);
});

function upload(app: string, body: Buffer, accept = 'application/json') {
  return api.post(`/v1/apps/${app}/releases`).set(admin).set('Accept', accept).send(body);
}

function post(path: string, headers: Record<string, string | number>): ClientRequest {
  return request(sluice.url + path, { method: 'POST', headers });
}

/** Sends data until `stop`. */
function sendForever(sending: ClientRequest): { stop: () => void } {
  const chunk = Buffer.alloc(64 * 1024);
  let stopped = false;
  const send = () => {
    while (!stopped && sending.write(chunk));
  };
  sending.on('drain', send);
  send();
  return {
    stop() {
      stopped = true;
      sending.on('error', () => undefined);
      sending.destroy();
    },
  };
}
