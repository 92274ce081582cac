import assert from 'node:assert/strict';
import { once } from 'node:events';
import { utimes } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { brotliCompressSync, brotliDecompressSync, gunzipSync, gzipSync } from 'node:zlib';
import { serveSite } from '../../src/static/handler.cjs';
import { temporaryDirectory } from '../support/temporary.ts';
import { type Files, writeTree } from '../support/tree.ts';

interface Site {
  directory: string;
  fallback: string | null;
  base: string;
}

interface Served {
  port: number;
  release: string;
  /** Sends a request as it is written; redirects are not followed, and nothing is decompressed. */
  ask(path: string, headers?: Record<string, string>, method?: string): Promise<Answer>;
}

interface Answer {
  status: number;
  headers: Headers;
  body: string;
}

async function served(t: TestContext, files: Files, site: Partial<Site> = {}): Promise<Served> {
  const release = await temporaryDirectory(t);
  await writeTree(release, files);
  const server = createServer(serveSite({ directory: 'dist', fallback: null, base: '/', ...site }, release));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const ask: Served['ask'] = async (path, headers = {}, method = 'GET') => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, {
      method,
      headers: { connection: 'close', 'accept-encoding': 'identity', ...headers },
      redirect: 'manual',
    });
    return { status: response.status, headers: response.headers, body: await response.text() };
  };
  return { port, release, ask };
}

/** Sends a request line that `fetch` would normalize. @returns the whole answer */
async function askRaw(port: number, target: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  socket.write(`GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
  return text(socket);
}

test('a page, its files and its types', async (t) => {
  const { ask } = await served(t, {
    'dist/index.html': '<h1>home</h1>',
    'dist/about.html': 'about',
    'dist/guide/index.html': 'guide',
    'dist/both.html': 'page',
    'dist/both/index.html': 'directory',
    'dist/app.mjs': 'let a;',
    'dist/with space & ümlaut.txt': 'odd',
    'dist/assets/index-DiwrgTda.js': 'hashed',
  });
  await t.test('the root is index.html, which browsers check before each use', async () => {
    const { status, headers, body } = await ask('/');
    assert.deepEqual([status, body], [200, '<h1>home</h1>']);
    assert.equal(headers.get('content-type'), 'text/html; charset=utf-8');
    assert.equal(headers.get('cache-control'), 'no-cache');
    assert.match(headers.get('etag') ?? '', /^"[\w-]{27}"$/);
  });
  await t.test('files with a hash in their name stay in caches for a year', async () => {
    const { headers } = await ask('/assets/index-DiwrgTda.js');
    assert.equal(headers.get('cache-control'), 'public, max-age=31536000, immutable');
    assert.match(headers.get('content-type') ?? '', /javascript/);
  });
  await t.test('paths need no .html', async () => {
    assert.equal((await ask('/about')).body, 'about');
    assert.equal((await ask('/about/')).body, 'about');
    assert.equal((await ask('/about.html')).body, 'about');
    assert.equal((await ask('/both')).body, 'page');
    assert.equal((await ask('/both/')).body, 'directory');
  });
  await t.test('a directory gets its slash, which relative links need', async () => {
    const { status, headers } = await ask('/guide?x=1&y=/');
    assert.deepEqual([status, headers.get('location')], [301, '/guide/?x=1&y=/']);
    assert.equal((await ask('/guide/')).body, 'guide');
  });
  await t.test('names may have any characters', async () => {
    const { body, headers } = await ask('/with%20space%20%26%20%C3%BCmlaut.txt?v=1');
    assert.deepEqual([body, headers.get('content-type')], ['odd', 'text/plain; charset=utf-8']);
  });
  await t.test('HEAD has the headers of GET, and other methods are refused', async () => {
    const { status, headers, body } = await ask('/about', {}, 'HEAD');
    assert.deepEqual([status, headers.get('content-length'), body], [200, '5', '']);
    const post = await ask('/about', {}, 'POST');
    assert.deepEqual([post.status, post.headers.get('allow')], [405, 'GET, HEAD']);
  });
});

test('conditional requests', async (t) => {
  const { ask, release } = await served(t, {
    'dist/index.html': 'one',
    'dist/404.html': 'missing',
    'dist/large.bin': Buffer.alloc(5 * 1024 ** 2),
  });
  for (const path of ['/', '/large.bin']) {
    const etag = (await ask(path)).headers.get('etag') ?? '';
    for (const condition of [etag, `W/${etag}`, `"x", ${etag}`, '*']) {
      const { status, body, headers } = await ask(path, { 'if-none-match': condition });
      assert.deepEqual([status, body, headers.get('etag')], [304, '', etag], `${path} ${condition}`);
    }
  }
  await t.test('a changed file is sent, even if its size and time are the same', async () => {
    const { headers } = await ask('/');
    const time = new Date('1985-10-26T08:15:00Z');
    await writeTree(release, { 'dist/index.html': 'two' });
    await utimes(join(release, 'dist/index.html'), time, time);
    const condition = { 'if-none-match': headers.get('etag') ?? '' };
    const second = await ask('/', condition);
    assert.deepEqual([second.status, second.body], [200, 'two']);
    // A rollback brings older files.
    assert.equal((await ask('/', { 'if-modified-since': new Date().toUTCString() })).status, 200);
  });
  await t.test('a page for errors is sent whole, with its status', async () => {
    const { headers } = await ask('/none');
    const conditions = { 'if-none-match': headers.get('etag') ?? '*', range: 'bytes=0-1' };
    const { status, body } = await ask('/none', conditions);
    assert.deepEqual([status, body], [404, 'missing']);
  });
});

test('ranges', async (t) => {
  const { ask } = await served(t, { 'dist/a.txt': '0123456789' });
  const etag = (await ask('/a.txt')).headers.get('etag') ?? '';
  for (const [range, status, body, contentRange] of [
    ['bytes=2-4', 206, '234', 'bytes 2-4/10'],
    ['bytes=7-', 206, '789', 'bytes 7-9/10'],
    ['bytes=-3', 206, '789', 'bytes 7-9/10'],
    ['bytes=0-99', 206, '0123456789', 'bytes 0-9/10'],
    ['bytes=10-', 416, '416 Range Not Satisfiable\n', 'bytes */10'],
    ['bytes=5-2', 416, '416 Range Not Satisfiable\n', 'bytes */10'],
    ['bytes=0-0,9-9', 200, '0123456789', null],
    ['lines=1-2', 200, '0123456789', null],
  ] as const) {
    const answer = await ask('/a.txt', { range });
    const got = [answer.status, answer.body, answer.headers.get('content-range')];
    assert.deepEqual(got, [status, body, contentRange], range);
  }
  assert.equal((await ask('/a.txt', { range: 'bytes=1-2', 'if-range': etag })).status, 206);
  assert.equal((await ask('/a.txt', { range: 'bytes=1-2', 'if-range': '"old"' })).status, 200);
});

test('compressed variants beside a file', async (t) => {
  const { port } = await served(t, {
    'dist/a.js': 'plain',
    'dist/a.js.br': brotliCompressSync('brotli'),
    'dist/a.js.gz': gzipSync('gzip'),
    'dist/b.js': 'alone',
  });
  const coded = async (path: string, accepted: string) => {
    const response = await new Promise<import('node:http').IncomingMessage>((resolve, reject) => {
      import('node:http').then(({ get }) => {
        const headers = { 'accept-encoding': accepted };
        get({ port, path, headers, agent: false }, resolve).on('error', reject);
      }, reject);
    });
    const body = Buffer.concat(await Array.fromAsync(response as AsyncIterable<Buffer>));
    return { headers: response.headers, body };
  };
  const br = await coded('/a.js', 'gzip, deflate, br');
  assert.equal(br.headers['content-encoding'], 'br');
  assert.equal(brotliDecompressSync(br.body).toString(), 'brotli');
  assert.match(br.headers['content-type'] ?? '', /javascript/);
  assert.equal(br.headers.vary, 'Accept-Encoding');
  const gzip = await coded('/a.js', 'gzip, br;q=0');
  assert.equal(gzip.headers['content-encoding'], 'gzip');
  assert.equal(gunzipSync(gzip.body).toString(), 'gzip');
  assert.notEqual(gzip.headers.etag, br.headers.etag);
  const plain = await coded('/a.js', '*;q=0');
  assert.deepEqual([plain.headers['content-encoding'], plain.body.toString()], [undefined, 'plain']);
  assert.equal(plain.headers.vary, 'Accept-Encoding');
  assert.equal((await coded('/b.js', 'br')).headers.vary, undefined);
});

test('paths without a file', async (t) => {
  const files = { 'dist/index.html': 'app', 'dist/404.html': 'missing', 'dist/assets/a.js': '' };
  const spa = await served(t, files, { fallback: 'index.html' });
  const browser = { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' };
  const outcomes = async ({ ask }: Served, path: string, headers: Record<string, string>) => {
    const { status, body } = await ask(path, headers);
    return `${status} ${body.trim()}`;
  };
  await t.test('a single-page app answers navigations with its page', async () => {
    assert.equal(await outcomes(spa, '/users/7', browser), '200 app');
    assert.equal(await outcomes(spa, '/users/jane.doe', browser), '200 app');
    assert.equal(await outcomes(spa, '/users/7', { accept: '*/*' }), '200 app');
  });
  await t.test('and nothing else: a script or data must not become a page', async () => {
    assert.equal(await outcomes(spa, '/assets/old-1a2b3c4d.js', { accept: '*/*' }), '404 missing');
    assert.equal(await outcomes(spa, '/logo', { accept: 'image/avif,image/webp' }), '404 missing');
    const ofPage = { accept: '*/*', 'sec-fetch-dest': 'empty' };
    assert.equal(await outcomes(spa, '/api/users', ofPage), '404 missing');
    assert.equal(await outcomes(spa, '/api/users', { accept: 'application/json' }), '404 missing');
  });
  await t.test('another site answers 404, with its own page if there is one', async () => {
    assert.equal(await outcomes(await served(t, files), '/users/7', browser), '404 missing');
    const bare = await served(t, { 'dist/a.txt': '' });
    assert.equal(await outcomes(bare, '/users/7', browser), '404 404 Not Found');
    assert.equal(await outcomes(bare, '/', browser), '404 404 Not Found');
  });
});

test('a site that expects a path of its own gets it', async (t) => {
  const { ask } = await served(
    t,
    { 'dist/index.html': 'home', 'dist/sub/index.html': 'sub', 'dist/a.txt': 'a' },
    { base: '/docs/' },
  );
  for (const path of ['/', '/docs']) {
    const { status, headers } = await ask(`${path}?q`);
    assert.deepEqual([status, headers.get('location')], [302, '/docs/?q']);
  }
  assert.equal((await ask('/docs/')).body, 'home');
  assert.equal((await ask('/docs/a.txt')).body, 'a');
  assert.equal((await ask('/a.txt')).body, 'a');
  assert.equal((await ask('/docs/sub')).headers.get('location'), '/docs/sub/');
});

test('files that are not of the site stay hidden', async (t) => {
  const { ask, port } = await served(
    t,
    {
      'index.html': 'home',
      '.env': 'SECRET=1',
      '.git/config': 'x',
      'a/.env': 'x',
      '.well-known/security.txt': 'contact',
      '.well-known/.hidden': 'x',
      'package.json': '{}',
      'sluice.json': '{}',
      'data/package.json': 'data',
      '%zz': 'x',
    },
    { directory: '.' },
  );
  assert.equal((await ask('/.well-known/security.txt')).body, 'contact');
  assert.equal((await ask('/data/package.json')).body, 'data');
  for (const path of [
    '/.env',
    '/%2eenv',
    '/.git/config',
    '/a/.env',
    '/a%2f.env',
    '/.well-known/.hidden',
    '/package.json',
    '/sluice.json',
    '//sluice.json',
  ])
    assert.equal((await ask(path)).status, 404, path);
  for (const target of [
    '/../../../etc/passwd',
    '/..%2f..%2fetc/passwd',
    '/a/../.env',
    '/./.env',
    '//evil.example/..',
  ])
    assert.match(await askRaw(port, target), /^HTTP\/1\.1 404 /, target);
  for (const target of ['/%zz', '/%00', 'x', '*'])
    assert.match(await askRaw(port, target), /^HTTP\/1\.1 40[05] /, target);
  assert.match(await askRaw(port, 'http://x/'), /^HTTP\/1\.1 200 /);
  assert.match(await askRaw(port, `/${'a'.repeat(5000)}`), /^HTTP\/1\.1 404 /);
});

test('a redirect never leaves the site', async (t) => {
  const { port } = await served(t, { 'dist/evil.example/index.html': 'x', 'dist/a?b#c/index.html': 'x' });
  assert.match(await askRaw(port, '//evil.example'), /\r\nlocation: \/evil\.example\/\r\n/);
  assert.match(await askRaw(port, '/a%3Fb%23c'), /\r\nlocation: \/a%3Fb%23c\/\r\n/);
});
