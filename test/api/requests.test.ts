import assert from 'node:assert/strict';
import { stat } from 'node:fs/promises';
import { request } from 'node:http';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import supertest from 'supertest';
import type { LogLevel } from '../../src/system/log/log.ts';
import { startApi } from '../support/api.ts';
import { apiRoutes } from '../support/api-routes.ts';
import { answering, running } from '../support/apps.ts';
import { fetchOnce } from '../support/http.ts';
import { pack } from '../support/pack.ts';
import { startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';
import { wholeFile } from '../support/whole-file.ts';

const sluice = await startSluice(wholeFile);
const api = supertest(sluice.url);
const admin = { Authorization: `Bearer ${sluice.token}` };
await sluice.deploy('shop', answering('shop'));

test('every error is {error: {code, message, hint}}, even for an unknown path or method', async () => {
  const nothing = await api.get('/v1/nothing').set(admin).expect(404);
  assert.deepEqual(Object.keys(nothing.body.error), ['code', 'message', 'hint']);
  assert.equal(nothing.body.error.code, 'not_found');
  const wrong = await api.put('/v1/apps/shop').set(admin).expect(405).expect('Allow', /GET/);
  assert.equal(wrong.body.error.code, 'method_not_allowed');
  assert.match(wrong.body.error.hint, /GET.*DELETE/);
  const unknown = await api.get('/v1/apps/nobody').set(admin).expect(404);
  assert.equal(unknown.body.error.code, 'app_not_found');
});

test('a body that is not JSON, too large or invalid is refused with the reason', async () => {
  const scale = () => api.post('/v1/apps/shop/scale').set(admin).type('json');
  assert.match((await scale().send('{"workers"').expect(400)).body.error.message, /not JSON/);
  const secret = await scale().send('{"TOKEN": "tr0ub4dor" x}').expect(400);
  assert.doesNotMatch(JSON.stringify(secret.body), /tr0ub/);
  assert.match(
    (await scale().send('{"workers": 0}').expect(400)).body.error.message,
    /workers: expected at least 1/,
  );
  assert.match((await scale().send('{"workers": 65}').expect(400)).body.error.message, /expected at most 64/);
  assert.match((await scale().send('{"worker": 1}').expect(400)).body.error.message, /worker/);
  const rollback = async (body: object) =>
    (await api.post('/v1/apps/shop/rollback').set(admin).send(body).expect(400)).body.error.message;
  assert.equal(await rollback({ relase: 3 }), 'invalid body: relase: unknown field');
  assert.match(await rollback({ release: '3' }), /: release: expected the number of a release, or null/);
  assert.match((await scale().send('5').expect(400)).body.error.message, /^invalid body: expected Object$/);
  const large = JSON.stringify({ workers: 'x'.repeat(2 * 1024 ** 2) });
  assert.match((await scale().send(large).expect(400)).body.error.message, /larger than 1.0 MiB/);
});

test('an unknown parameter is refused with the known ones, and nothing is done', async () => {
  const calls = (await apiRoutes()).map(({ method, path }) => {
    return { method, path: path.replace(/:app|:name/, 'shop').replace(':number', '1') };
  });
  assert.ok(calls.length >= 18);
  for (const { method, path } of calls) {
    const answer = await sluice.request(`${path}?env=staging&confirm=shop`, { method });
    const text = await answer.text();
    assert.equal(answer.status, 400, `${method} ${path}`);
    assert.match(text, /unknown parameter of .+: env\b/);
    // Answers to clients of git are text.
    if (!path.startsWith('/git/')) assert.equal(JSON.parse(text).error.code, 'bad_request');
  }
  const deployed = await api
    .post('/v1/apps/shop/releases?env=staging')
    .set(admin)
    .send(await pack(answering('x')));
  assert.equal(deployed.status, 400);
  assert.equal(
    deployed.body.error.hint,
    'Parameters: environment, noCache, commit, branch, author, message, directory, changedFiles.',
  );
  assert.equal(await sluice.get('shop'), 'shop');
  const removed = await api.delete('/v1/apps/shop?env=staging&confirm=shop').set(admin).expect(400);
  assert.equal(removed.body.error.hint, 'Parameters: environment, confirm.');
  const other = await api.delete('/v1/apps/shop?environment=staging&confirm=shop').set(admin).expect(400);
  assert.equal(other.body.error.hint, 'Confirm with ?confirm=shop@staging');
});

test('a request has the id of its caller, or a new one', async () => {
  const own = await api.get('/healthz').set('X-Request-Id', 'trace-42').expect('X-Request-Id', 'trace-42');
  assert.equal(own.body.status, 'ok');
  const given = await api.get('/healthz').set('X-Request-Id', 'no\tgood id');
  assert.match(given.headers['x-request-id'] ?? '', /^[0-9a-f-]{36}$/);
});

test('each log line of a request has the id of its answer', async () => {
  const body = await pack(running('process.exit(3)'));
  const failed = await api.post('/v1/apps/brittle/releases?message=hush').set(admin).send(body).expect(422);
  const id = failed.headers['x-request-id'];
  // The line of the request itself is written when its answer is on its way.
  const about = await waitFor(
    async () => {
      const lines = (await sluice.log()).filter(({ requestId }) => requestId === id);
      return lines.some(({ msg }) => msg === 'request') && lines;
    },
    { what: 'the line of the request' },
  );
  assert.deepEqual(
    about.map(({ level, msg }) => [level, msg]),
    [
      ['warn', 'deploy failed'],
      ['info', 'request'],
    ],
  );
  const { time, durationMs, ...request } = about[1] ?? {};
  assert.match(String(time), /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
  assert.equal(typeof durationMs, 'number');
  assert.deepEqual(request, {
    level: 'info',
    source: 'server',
    msg: 'request',
    requestId: id,
    method: 'POST',
    path: '/v1/apps/brittle/releases',
    status: 422,
    by: 'test',
  });
});

test('requests that change nothing are logged at debug level only, unless a caller is refused', async (t) => {
  const requests = async (level: LogLevel) => {
    const { api, bearer, log } = await startApi(t, { list: async () => [] }, level);
    const admin = await bearer('admin', 'admin');
    await api.get('/v1/apps').set(admin).expect(200);
    await api.get('/v1/apps').expect(401);
    await api.get('/v1/apps').set({ Authorization: 'Bearer open-sesame' }).expect(401);
    await api.post('/v1/tokens').set(admin).send({ name: 'ci' }).expect(201);
    // The line of a request is written when its answer has been sent.
    const all = await waitFor(async () => {
      const lines = await log();
      return lines.some(({ method }) => method === 'POST') && lines;
    });
    assert.doesNotMatch(JSON.stringify(all), /open-sesame/);
    return all.map(({ level, method, status }) => `${level} ${method} ${status}`).sort();
  };
  assert.deepEqual(await requests('debug'), [
    'debug GET 200',
    'debug GET 401',
    'info POST 201',
    'warn GET 401',
  ]);
  assert.deepEqual(await requests('info'), ['info POST 201', 'warn GET 401']);
});

test('the unix socket needs no token, and only its owner can open it', async () => {
  const path = sluice.paths.serverSocket;
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  const body = await new Promise<string>((resolve, reject) => {
    request({ socketPath: path, path: '/v1/tokens' }, (answer) => resolve(text(answer)))
      .on('error', reject)
      .end();
  });
  assert.deepEqual(
    JSON.parse(body).map(({ name }: { name: string }) => name),
    ['test'],
  );
});

test('variables apply after a switch, and null removes them', async () => {
  const code = `require('node:http').createServer((request, response) => response.end(process.env.WORD ?? 'none'))
    .listen(process.env.PORT);`;
  await sluice.deploy('wordy', running(code));
  const patch = (changes: object) => api.patch('/v1/apps/wordy/env').set(admin).send(changes);
  await patch({ WORD: 'hello' }).expect(200, {
    changed: ['WORD'],
    rebuild: [],
    notices: [],
    outcome: 'switched',
  });
  await api.get('/v1/apps/wordy/env').set(admin).expect(200, { WORD: 'hello' });
  assert.equal(await sluice.get('wordy'), 'hello');
  await patch({ WORD: null }).expect(200, {
    changed: ['WORD'],
    rebuild: [],
    notices: [],
    outcome: 'switched',
  });
  assert.equal(await sluice.get('wordy'), 'none');
  const refused = await patch({ 'no good': 'x', PORT: '1' }).expect(400);
  assert.equal(refused.body.error.code, 'invalid_env');
});

test('an environment has its own releases, port and variables', async () => {
  const staging = (path: string) => `/v1/apps/shop${path}?environment=staging`;
  await api.get(staging('')).set(admin).expect(404);
  const body = await pack(answering('staged'));
  const release = await api.post(staging('/releases')).set(admin).send(body).expect(201);
  assert.equal(release.body.number, 1);
  assert.equal(release.body.environment, 'staging');
  const production = await sluice.status('shop');
  assert.notEqual(release.body.url, production.url);
  assert.equal(await (await fetchOnce(release.body.url)).text(), 'staged');
  assert.equal(await sluice.get('shop'), 'shop');
  await api
    .patch(`${staging('/env')}&restart=false`)
    .set(admin)
    .send({ A: '1' })
    .expect(200, { changed: ['A'], rebuild: [], notices: [], outcome: 'kept' });
  await api.get('/v1/apps/shop/env').set(admin).expect(200, {});
  await api.get('/v1/apps/shop?environment=a&environment=b').set(admin).expect(400);
});

test('the log of an app can be read and followed', async () => {
  const code = `require('node:http').createServer((request, response) => {
    console.log('asked for ' + request.url);
    response.end();
  }).listen(process.env.PORT);`;
  await sluice.deploy('chatty', running(code));
  await sluice.get('chatty', '/first');
  const following = await sluice.request('/v1/apps/chatty/logs?lines=1&follow=1');
  const lines = following.body?.pipeThrough(new TextDecoderStream());
  assert.ok(lines);
  await sluice.get('chatty', '/second');
  let seen = '';
  for await (const chunk of lines) {
    seen += chunk;
    if (seen.includes('asked for /second\n')) break;
  }
  const last = await api.get('/v1/apps/chatty/logs?lines=1').set(admin).expect(200);
  assert.equal(last.text, 'asked for /second\n');
  await api.get('/v1/apps/chatty/logs?lines=many').set(admin).expect(400);
});

test('an app is removed only if its name is confirmed', async () => {
  await sluice.deploy('brief', answering('brief'));
  const refused = await api.delete('/v1/apps/brief').set(admin).expect(400);
  assert.match(refused.body.error.hint, /confirm=brief/);
  await api.delete('/v1/apps/brief?confirm=shop').set(admin).expect(400);
  await api
    .delete('/v1/apps/brief?confirm=brief')
    .set(admin)
    .expect(200, { app: 'brief', environment: null, tokens: [], keys: [] });
  await api.get('/v1/apps/brief').set(admin).expect(404);
});
