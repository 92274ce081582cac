import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, test } from 'node:test';
import { promisify } from 'node:util';
import type { DomainView } from '../../src/edge/domain.ts';
import { answering } from '../support/apps.ts';
import { cli } from '../support/cli.ts';
import { fetchOnce, fetchText } from '../support/http.ts';
import { askHost, secureConnection } from '../support/https.ts';
import { machineWithNginx } from '../support/nginx.ts';
import { pack } from '../support/pack.ts';
import { startSluice } from '../support/server.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { wholeFile } from '../support/whole-file.ts';

const machine = await machineWithNginx(wholeFile);
const sluice = await startSluice(wholeFile, { apiSocket: machine.apiSocket });
await machine.serve(sluice.home);
await sluice.deploy('shop', answering('the shop'));
await sluice.deploy('blog', answering('the blog'));

const add = (body: Record<string, unknown>) =>
  sluice.call<DomainView>('POST', '/v1/domains', { certificate: 'self-signed', ...body });
const remove = (name: string) => sluice.call('DELETE', `/v1/domains/${name}`);
const list = () => sluice.call<DomainView[]>('GET', '/v1/domains');
/** Returns the revision of the last apply. */
const revision = async () => (await machine.outcome(sluice.home)).revision;

// Domains of a failed test would fail the tests after it.
afterEach(async () => {
  for (const { name } of await list()) await remove(name);
});

test('a domain serves its app over https until it is removed', async () => {
  const domain = await add({ name: 'shop.example.com', app: 'shop' });
  assert.equal(domain.certificate.state, 'valid');
  await add({ name: 'blog.example.com', app: 'blog' });
  assert.equal((await askHost(machine.https, 'shop.example.com')).body, 'the shop');
  assert.equal((await askHost(machine.https, 'blog.example.com')).body, 'the blog');
  const status = await sluice.status('shop');
  assert.equal(status.url, 'https://shop.example.com');
  assert.deepEqual(
    status.domains.map(({ name }) => name),
    ['shop.example.com'],
  );
  await remove('shop.example.com');
  assert.equal((await askHost(machine.https, 'blog.example.com')).body, 'the blog');
  await assert.rejects(askHost(machine.https, 'shop.example.com'), 'the name is removed');
  assert.match((await sluice.status('shop')).url, /^http:\/\/127\.0\.0\.1:/);
  await remove('blog.example.com');
  assert.deepEqual(await list(), []);
});

test('a deploy adds the host names of its settings, those of the environment, unless its token is limited to one app', async () => {
  const settings = {
    domains: ['Shop.example.com'],
    environments: { staging: { domains: ['staging.example.com'] } },
  };
  const declared = answering('declared', settings);
  const notes = async (name: string) => (await sluice.releases(name))[0]?.notices.map(({ code }) => code);
  await sluice.deploy('declared', declared);
  assert.equal((await askHost(machine.https, 'shop.example.com')).body, 'declared');
  await sluice.deploy('declared', declared, 'staging');
  const routes = (await list()).map(({ name, app, environment }) => [name, app, environment]);
  assert.deepEqual(routes.sort(), [
    ['shop.example.com', 'declared', 'production'],
    ['staging.example.com', 'declared', 'staging'],
  ]);
  assert.deepEqual(await notes('declared'), []);

  // The name leads to another app, so the release is live without it.
  await sluice.deploy('second', declared);
  assert.deepEqual(await notes('second'), ['domain_not_added']);

  const body = { name: 'limited', scopes: ['deploy'], app: 'third' };
  const { token } = await sluice.call<{ token: string }>('POST', '/v1/tokens', body);
  const answer = await fetchOnce(`${sluice.url}/v1/apps/third/releases`, {
    ...{
      method: 'POST',
      body: new Uint8Array(await pack(answering('third', { domains: ['third.example.com'] }))),
    },
    headers: { authorization: `Bearer ${token}` },
  });
  assert.equal(answer.status, 201);
  assert.deepEqual(await notes('third'), ['domain_not_added']);
  assert.ok(!(await list()).some(({ name }) => name === 'third.example.com'));
});

test('plain http redirects to https, and other names still reach the other site (thorough)', async () => {
  await add({ name: 'shop.example.com', app: 'shop' });
  const there = `https://shop.example.com:${machine.https}/a?b=%2F`;
  const headers = { host: 'shop.example.com' };
  const got = await fetchText(machine.http, '/a?b=%2F', { headers });
  assert.deepEqual([got.status, got.headers.location], [301, there]);
  const posted = await fetchText(machine.http, '/a?b=%2F', { headers, method: 'POST' });
  assert.deepEqual([posted.status, posted.headers.location], [308, there]);
  for (const host of ['other.example.com', 'localhost', '127.0.0.1']) {
    assert.equal((await fetchText(machine.http, '/', { headers: { host } })).body, 'the other site');
  }
  await remove('shop.example.com');
});

test('a domain serves the API, and git over it (thorough)', async () => {
  const domain = await add({ name: 'deploy.example.com' });
  assert.equal(domain.app, null);
  const answer = await askHost(machine.https, 'deploy.example.com', '/healthz');
  assert.equal(JSON.parse(answer.body).status, 'ok');
  const credentials = Buffer.from(`git:${sluice.token}`).toString('base64');
  const git = await askHost(
    machine.https,
    'deploy.example.com',
    '/git/shop.git/info/refs?service=git-receive-pack',
    {
      headers: { authorization: `Basic ${credentials}` },
    },
  );
  assert.equal(git.headers['content-type'], 'application/x-git-receive-pack-advertisement');
  assert.equal((await list())[0]?.url, 'https://deploy.example.com');
  await remove('deploy.example.com');
});

test('a deploy, a rollback and a restart do not change nginx (thorough)', async () => {
  await add({ name: 'shop.example.com', app: 'shop' });
  const before = [await revision(), (await stat(machine.config)).mtimeMs];
  await sluice.deploy('shop', answering('the second'));
  assert.equal((await askHost(machine.https, 'shop.example.com')).body, 'the second');
  await sluice.rollback('shop');
  await sluice.call('POST', '/v1/apps/shop/restart');
  assert.equal((await askHost(machine.https, 'shop.example.com')).body, 'the shop');
  assert.deepEqual([await revision(), (await stat(machine.config)).mtimeMs], before);
  await remove('shop.example.com');
});

test('an impossible change of domains fails, and changes nothing (thorough)', async () => {
  await add({ name: 'shop.example.com', app: 'shop' });
  const before = await readFile(machine.config, 'utf8');
  for (const [body, code] of [
    [{ name: 'shop.example.com', app: 'blog' }, 'domain_taken'],
    [{ name: 'shop.example.com' }, 'domain_taken'],
    [{ name: 'none.example.com', app: 'none' }, 'app_not_found'],
    [{ name: 'shop.example.com', app: 'shop', environment: 'staging' }, 'app_not_found'],
    [
      { name: 'x.example.com', app: 'shop', certificate: { certificate: 'x', key: 'y' } },
      'invalid_certificate',
    ],
    [{ name: 'x.example.com', app: 'shop', certificate: 'let us encrypt' }, 'bad_request'],
    [{ name: 'x.example.com', app: 'No Name' }, 'bad_request'],
    ...hostileNames.map((name) => [{ name, app: 'shop' }, 'invalid_domain'] as const),
  ] as const) {
    await assert.rejects(add(body), { code }, JSON.stringify(body));
  }
  await assert.rejects(remove('none.example.com'), { code: 'domain_not_found' });
  assert.equal(await readFile(machine.config, 'utf8'), before);
  assert.equal((await list()).length, 1);
  await remove('shop.example.com');
});

/** Names that must never reach nginx's configuration, a path or DNS. */
const hostileNames = [
  '',
  '.',
  'shop',
  'localhost',
  '*.example.com',
  '_dmarc.example.com',
  'shop.example.com; return 200',
  'shop.example.com}',
  'shop.example.com\n',
  '../../etc/passwd',
  'a/b.example.com',
  'shop.example.com:443',
  '127.0.0.1',
  '[::1]',
  'bücher.example\n.com',
  '-shop.example.com',
  'shop-.example.com',
  `${'a'.repeat(64)}.example.com`,
  `${'a.'.repeat(127)}com`,
  '$host.example.com',
  'shop.example.com"',
  "shop.'example.com",
  'shop..example.com',
];

test('capitals, umlauts and a final dot in a name do not matter (thorough)', async () => {
  assert.equal((await add({ name: 'SHOP.Example.COM.', app: 'shop' })).name, 'shop.example.com');
  assert.equal((await add({ name: 'Bücher.example', app: 'shop' })).name, 'xn--bcher-kva.example');
  for (const name of ['shop.example.com', 'xn--bcher-kva.example']) {
    assert.equal((await askHost(machine.https, name)).body, 'the shop');
    await remove(name);
  }
});

test('a certificate of the owner is used, shown with its expiry, and replaced (thorough)', async () => {
  const own = async (days: number, name = 'shop.example.com') => {
    const { stdout } = await promisify(execFile)('openssl', [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'],
      ...['-days', String(days), '-subj', '/O=Our own', '-addext', `subjectAltName=DNS:${name}`],
      ...['-keyout', '-', '-out', '-'],
    ]);
    const [key = '', certificate = ''] = stdout.split(/(?=-----BEGIN CERTIFICATE)/);
    return { key, certificate };
  };
  const directory = await temporaryDirectory(wholeFile);
  const { key, certificate } = await own(30);
  await writeFile(join(directory, 'key.pem'), key);
  await writeFile(join(directory, 'chain.pem'), certificate);
  const env = { SLUICE_HOME: sluice.home };
  const files = ['--certificate', join(directory, 'chain.pem'), '--key', join(directory, 'key.pem')];
  const added = await cli(['domains', 'add', 'shop', 'shop.example.com', ...files], { env });
  assert.match(added.stdout, /\ncertificate: valid until \d{4}-\d\d-\d\d, by Our own\n$/);
  const served = async () => {
    const socket = await secureConnection(machine.https, 'shop.example.com');
    const { valid_to } = socket.getPeerCertificate();
    socket.destroy();
    return new Date(valid_to).toISOString();
  };
  const first = (await list())[0]?.certificate;
  assert.equal(await served(), first?.expiresAt);
  assert.equal(first?.renewAt, null, 'its owner renews it');

  for (const [wrong, message] of [
    [{ ...(await own(30)), certificate }, /the key belongs to another certificate/],
    [await own(30, 'other.example.com'), /is not for shop\.example\.com, but for DNS:other\.example\.com/],
    [{ key: '', certificate }, /the text has 0 private keys/],
  ] as const) {
    const refused = add({ name: 'shop.example.com', app: 'shop', certificate: wrong });
    await assert.rejects(refused, { code: 'invalid_certificate', message });
  }
  assert.equal(await served(), first?.expiresAt);

  await add({ name: 'shop.example.com', app: 'shop', certificate: await own(5) });
  assert.notEqual(await served(), first?.expiresAt);
  const doctor = JSON.parse((await cli(['doctor', '--json'], { env })).stdout);
  const check = doctor.checks.find(({ name }: { name: string }) => name === 'domains');
  assert.equal(check.state, 'warning');
  assert.match(check.message, /^the certificate of shop\.example\.com expires on \d{4}-\d\d-\d\d$/);
  await remove('shop.example.com');
});

test('a damaged domains.json is reported, and everything else runs (thorough)', async () => {
  await add({ name: 'shop.example.com', app: 'shop' });
  await sluice.stop();
  const whole = await readFile(sluice.paths.domains, 'utf8');
  await writeFile(sluice.paths.domains, '{"domains": [{"name": "shop.example.com"}]}');
  await sluice.up();
  try {
    await sluice.untilRunning('shop');
    assert.equal(
      (await askHost(machine.https, 'shop.example.com')).body,
      'the shop',
      'nginx still serves it',
    );
    await assert.rejects(add({ name: 'x.example.com', app: 'shop' }), {
      code: 'invalid_settings',
      message: /domains\.json has/,
    });
    const doctor = await cli(['doctor'], { env: { SLUICE_HOME: sluice.home } });
    assert.match(doctor.stdout, /FAULT +domains +.*domains\.json has/);
  } finally {
    await sluice.stop();
    await writeFile(sluice.paths.domains, whole);
    await sluice.up();
    await sluice.untilRunning('shop');
  }
  await remove('shop.example.com');
});

test('destroying an app or an environment removes its domains (thorough)', async () => {
  await sluice.deploy('shortlived', answering('not for long'));
  await sluice.deploy('shortlived', answering('shorter still'), 'staging');
  await add({ name: 'short.example.com', app: 'shortlived' });
  await add({ name: 'shorter.example.com', app: 'shortlived', environment: 'staging' });
  await add({ name: 'shop.example.com', app: 'shop' });
  await sluice.call('DELETE', '/v1/apps/shortlived?environment=staging&confirm=shortlived@staging');
  assert.deepEqual(
    (await list()).map(({ name }) => name),
    ['short.example.com', 'shop.example.com'],
  );
  await sluice.call('DELETE', '/v1/apps/shortlived?confirm=shortlived');
  assert.deepEqual(
    (await list()).map(({ name }) => name),
    ['shop.example.com'],
  );
  await assert.rejects(add({ name: 'short.example.com', app: 'shortlived' }), { code: 'app_not_found' });
  await remove('shop.example.com');
  await assert.rejects(askHost(machine.https, 'short.example.com'));
});

test('domains and their certificates survive a restart of the server (thorough)', async () => {
  await add({ name: 'shop.example.com', app: 'shop' });
  await sluice.stop();
  const before = await revision();
  await sluice.up();
  await sluice.untilRunning('shop');
  assert.equal((await askHost(machine.https, 'shop.example.com')).body, 'the shop');
  assert.equal(await revision(), before);
  assert.equal((await sluice.status('shop')).domains[0]?.certificate.state, 'valid');
  await remove('shop.example.com');
});

test('the command adds, lists and removes domains, and the history has each change (thorough)', async () => {
  const env = { SLUICE_HOME: sluice.home };
  const added = await cli(['domains', 'add', 'shop', 'shop.example.com', '--self-signed'], { env });
  assert.equal(added.stderr, '');
  assert.match(
    added.stdout,
    /^https:\/\/shop\.example\.com routes to shop\ncertificate: valid until \d{4}-\d\d-\d\d, self-signed: for trials\n$/,
  );
  assert.equal(
    (await cli(['domains', 'add', '--api', 'deploy.example.com', '--self-signed'], { env })).code,
    0,
  );
  const listed = await cli(['domains', 'list'], { env });
  assert.match(
    listed.stdout,
    /^DOMAIN +APP +CERTIFICATE\nhttps:\/\/shop\.example\.com +shop +valid until .*\nhttps:\/\/deploy\.example\.com +the API +valid/,
  );
  assert.match(
    (await cli(['status'], { env })).stdout,
    /https:\/\/shop\.example\.com[\s\S]*https:\/\/deploy\.example\.com +the API/,
  );
  assert.match(
    (await cli(['status', 'shop'], { env })).stdout,
    /release 1 on Node\.js \d+\.\d+\.\d+, https:\/\/shop\.example\.com\n\nstarts with node server\.js\n\nDOMAIN/,
  );
  assert.equal((await cli(['domains', 'add', 'shop'], { env })).code, 2);
  assert.equal((await cli(['domains', 'add', '--api', 'shop', 'x.example.com'], { env })).code, 2);
  for (const name of ['shop', 'deploy']) {
    assert.equal((await cli(['domains', 'remove', `${name}.example.com`], { env })).code, 0);
  }
  assert.match((await cli(['domains', 'list'], { env })).stdout, /^No domains yet/);
  const events = (await readFile(sluice.paths.events, 'utf8'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  const last = events
    .slice(-4)
    .map(({ action, by, domain, app, outcome }) => ({ action, by, domain, app, outcome }));
  const by = { by: 'local', outcome: 'done' };
  assert.deepEqual(last, [
    { action: 'domain add', domain: 'shop.example.com', app: 'shop', ...by },
    { action: 'domain add', domain: 'deploy.example.com', app: '*', ...by },
    { action: 'domain remove', domain: 'shop.example.com', app: 'shop', ...by },
    { action: 'domain remove', domain: 'deploy.example.com', app: '*', ...by },
  ]);
});

test('only a full token may change domains; a token of one app sees the domains of that app (thorough)', async () => {
  await add({ name: 'shop.example.com', app: 'shop' });
  await add({ name: 'blog.example.com', app: 'blog' });
  const token = async (scope: string, app: string | null) => {
    const name = `${scope}-${app}`;
    return (await sluice.call<{ token: string }>('POST', '/v1/tokens', { name, scopes: [scope], app })).token;
  };
  const as = (secret: string, path: string, method = 'GET') =>
    fetchOnce(`${sluice.url}${path}`, {
      ...{ method, headers: { authorization: `Bearer ${secret}` } },
      ...(method === 'POST' && { body: '{"name":"x.example.com","app":"shop","certificate":"self-signed"}' }),
    });
  for (const secret of [await token('deploy', null), await token('admin', 'shop')]) {
    assert.equal((await as(secret, '/v1/domains', 'POST')).status, 403);
    assert.equal((await as(secret, '/v1/domains/shop.example.com', 'DELETE')).status, 403);
  }
  const seen = (await (await as(await token('read', 'shop'), '/v1/domains')).json()) as DomainView[];
  assert.deepEqual(
    seen.map(({ name }) => name),
    ['shop.example.com'],
  );
  await remove('shop.example.com');
  await remove('blog.example.com');
});
