import assert from 'node:assert/strict';
import { readFile, stat } from 'node:fs/promises';
import { test } from 'node:test';
import type { DomainView } from '../../src/edge/domain.ts';
import { answering } from '../support/apps.ts';
import { cli } from '../support/cli.ts';
import { fetchText } from '../support/http.ts';
import { askHost } from '../support/https.ts';
import { machineWithNginx } from '../support/nginx.ts';
import { startSluice } from '../support/server.ts';
import { wholeFile } from '../support/whole-file.ts';

const machine = await machineWithNginx(wholeFile);
const sluice = await startSluice(wholeFile);
await machine.serve(sluice.home);
await sluice.deploy('shop', answering('the shop'));
await sluice.deploy('blog', answering('the blog'));

const add = (body: Record<string, unknown>) =>
  sluice.call<DomainView>('POST', '/v1/domains', { certificate: 'self-signed', ...body });
const remove = (name: string) => sluice.call('DELETE', `/v1/domains/${name}`);
const list = () => sluice.call<DomainView[]>('GET', '/v1/domains');

test('a domain leads to its app over https, in the status too, until it is removed', async () => {
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
  await assert.rejects(askHost(machine.https, 'shop.example.com'), 'no name of ours any more');
  assert.match((await sluice.status('shop')).url, /^http:\/\/127\.0\.0\.1:/);
  await remove('blog.example.com');
  assert.deepEqual(await list(), []);
});

test('plain http leads to https, and what is no name of ours goes where it went before', async () => {
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

test('the API is served by a name of its own, with git over it', async () => {
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

test('a deploy, a rollback and a restart leave nginx alone', async () => {
  await add({ name: 'shop.example.com', app: 'shop' });
  const before = [machine.applied, (await stat(machine.config)).mtimeMs];
  await sluice.deploy('shop', answering('the second'));
  assert.equal((await askHost(machine.https, 'shop.example.com')).body, 'the second');
  await sluice.rollback('shop');
  await sluice.call('POST', '/v1/apps/shop/restart');
  assert.equal((await askHost(machine.https, 'shop.example.com')).body, 'the shop');
  assert.deepEqual([machine.applied, (await stat(machine.config)).mtimeMs], before);
  await remove('shop.example.com');
});

test('what cannot be is told, and changes nothing', async () => {
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

/** What must never reach nginx's configuration, a path or DNS. */
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

test('a name is known in whatever way it is written', async () => {
  assert.equal((await add({ name: 'SHOP.Example.COM.', app: 'shop' })).name, 'shop.example.com');
  assert.equal((await add({ name: 'Bücher.example', app: 'shop' })).name, 'xn--bcher-kva.example');
  for (const name of ['shop.example.com', 'xn--bcher-kva.example']) {
    assert.equal((await askHost(machine.https, name)).body, 'the shop');
    await remove(name);
  }
});

test('destroying an app removes its domains', async () => {
  await sluice.deploy('shortlived', answering('not for long'));
  await add({ name: 'short.example.com', app: 'shortlived' });
  await add({ name: 'shop.example.com', app: 'shop' });
  await sluice.call('DELETE', '/v1/apps/shortlived?confirm=shortlived');
  assert.deepEqual(
    (await list()).map(({ name }) => name),
    ['shop.example.com'],
  );
  await assert.rejects(add({ name: 'short.example.com', app: 'shortlived' }), { code: 'app_not_found' });
  await remove('shop.example.com');
  await assert.rejects(askHost(machine.https, 'short.example.com'));
});

test('domains and their certificates outlive the server, and it looks whether nginx goes by them', async () => {
  await add({ name: 'shop.example.com', app: 'shop' });
  await sluice.stop();
  const before = machine.applied;
  await sluice.up();
  await sluice.untilRunning('shop');
  assert.equal((await askHost(machine.https, 'shop.example.com')).body, 'the shop');
  assert.equal(machine.applied, before);
  assert.equal((await sluice.status('shop')).domains[0]?.certificate.state, 'valid');
  await remove('shop.example.com');
});

test('the command adds, lists and removes, and the history tells who did', async () => {
  const env = { SLUICE_HOME: sluice.home };
  const added = await cli(['domains', 'add', 'shop', 'shop.example.com', '--self-signed'], { env });
  assert.equal(added.stderr, '');
  assert.match(
    added.stdout,
    /^https:\/\/shop\.example\.com leads to shop\ncertificate: valid until \d{4}-\d\d-\d\d, signed by itself: for trials\n$/,
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
    /release 1, https:\/\/shop\.example\.com\n\nDOMAIN/,
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

test('only who may do everything may change domains; a token of one app sees its own', async () => {
  await add({ name: 'shop.example.com', app: 'shop' });
  await add({ name: 'blog.example.com', app: 'blog' });
  const token = async (scope: string, app: string | null) => {
    const name = `${scope}-${app}`;
    return (await sluice.call<{ token: string }>('POST', '/v1/tokens', { name, scopes: [scope], app })).token;
  };
  const as = (secret: string, path: string, method = 'GET') =>
    fetch(`${sluice.url}${path}`, {
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
