import { gzipSync, zstdCompressSync } from 'node:zlib';
import type { ApiRoute } from '../support/api-routes.ts';
import { tarball } from '../support/archive.ts';
import type { Random } from '../support/random.ts';

/** Valid parts that a request may have besides random parts. */
export interface Material {
  routes: ApiRoute[];
  /** secret of a token with all rights */
  token: string;
  /** name of a key that may push */
  key: string;
  /** host name at which nginx serves the API */
  host: string;
  /** archive of an app that goes live */
  archive: Buffer;
}

/** Head of a request for a WebSocket, without its last line. */
const upgrade = 'GET /v1/apps/shop/run HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n';

/** Requests that have ended a server before. */
export const known: Buffer[] = [
  'GET http:// HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
  'GET http://[::1]:x/v1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
  'GET //a%@x/#q HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
  'GET //a%ff@x/#q HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
  `${upgrade}Content-Length: 2\r\n\r\na`,
  `GET / HTTP/1.1\r\n\r\n${upgrade}\r\n`,
  `GET / HTTP/1.1\r\nHost: x\r\nExpect: x\r\n\r\n${upgrade}\r\n`,
].map((text) => Buffer.from(text));

/** Requests of the ssh relay. */
export const sshRoute: ApiRoute = { method: 'POST', path: '/ssh' };

/** Returns a request that is valid except for some of its parts: the bytes of its head, and of its body. */
export function hostileRequest(random: Random, material: Material, route: ApiRoute): Buffer[] {
  if (random.once(25)) return [random.pick(known)];
  if (random.once(40)) return [random.bytes(random.below(3000))];
  const body = bodyFor(random, route, material);
  const head = [requestLine(random, route), ...headers(random, route, body, material)];
  const parts = [Buffer.from(`${head.join(lineEnd(random))}\r\n\r\n`, 'latin1'), framed(random, head, body)];
  // A second request before the first one is answered.
  if (random.once(20)) parts.push(...hostileRequest(random, material, random.pick(material.routes)));
  return parts.map((part) => (random.once(15) ? damaged(random, part) : part));
}

function requestLine(random: Random, route: ApiRoute): string {
  const method = random.once(12) ? random.pick(methods) : route.method;
  const target = random.once(6) ? random.pick(targets)(random) : path(random, route) + query(random, route);
  const version = random.once(25)
    ? random.pick(['HTTP/1.0', 'HTTP/2.0', 'HTTP/0.9', 'http/1.1', ''])
    : 'HTTP/1.1';
  return `${method} ${target} ${version}`;
}

const methods = [
  ...['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'CONNECT', 'PRI', 'M-SEARCH'],
  ...['PROPFIND', 'QUERY', 'get', 'G\x00T', ''],
];

const targets: ((random: Random) => string)[] = [
  () => '*',
  () => 'http://',
  () => 'http://[::1]:x/v1',
  () => '//a%@x/#q',
  () => `/${'a/'.repeat(4000)}`,
  (random) => `/${'%'.repeat(random.below(2000))}`,
  (random) =>
    `http://${random.pick(['a', '[', '%', 'a:b@', ''])}${random.pick([':1', ':99999', '', '/'])}/v1/apps`,
  (random) => `/v1/apps/${encodeURIComponent(random.bytes(20).toString('latin1'))}`,
  (random) =>
    `/v1/apps/${random.pick(['%', '%ff', '%2e%2e', '..', '%00', '__proto__', 'constructor', 'a%2Fb'])}`,
  (random) => `/v1/apps/../${random.pick(['../etc', '//', '.;/', '\\', ';'])}`,
  (random) =>
    `/git/${random.pick(['..', 'shop.git/../..', '%2e%2e.git', '-', '.git'])}/info/refs?service=git-upload-pack`,
  (random) => `/${random.bytes(random.below(200)).toString('latin1')}`,
  (random) => `/healthz?${'a=b&'.repeat(random.below(3000))}`,
  (random) => `/v1/apps?${random.pick(['__proto__[a]=b', 'a[', '%=%', '=&=&', 'constructor=1', '?', '#'])}`,
];

/** Returns a name, mostly one that exists, but none whose removal would break the other requests. */
function path(random: Random, { path }: ApiRoute): string {
  return path
    .replace(':app', random.pick(['shop', 'shop', 'fuzz', 'nobody', 'shop.git', 'A', '%66uzz', '..%2f']))
    .replace(':name', random.pick(['nobody', 'x.example.com', '%00', '*']))
    .replace(':number', random.pick(['1', '2', '0', '-1', '1e3', '99999999999999999999', '%31', 'x']));
}

function query(random: Random, { path }: ApiRoute): string {
  const service = `service=${random.pick(['git-upload-pack', 'git-receive-pack', 'git', ''])}`;
  const usual = path.endsWith('/info/refs') ? [service] : [];
  if (!random.once(3)) return usual.length === 0 ? '' : `?${usual.join('&')}`;
  const more = Array.from({ length: 1 + random.below(3) }, () => random.pick(parameters));
  return `?${[...usual, ...more].join('&')}`;
}

const parameters = [
  ...[
    'environment=staging',
    'environment=',
    'environment=%00',
    'environment=a&environment=b',
    'environment=../x',
  ],
  ...[
    'follow=1',
    'follow=1',
    'lines=5',
    'lines=-1',
    'lines=9e9',
    'since=1h',
    'since=%ff',
    'release=1',
    'worker=web.0',
  ],
  ...[
    'worker=(',
    'stream=out,err,sys',
    'stream=%F0%9F',
    'restart=false',
    'confirm=nobody',
    'service=git-upload-pack',
  ],
  ...[
    'commit=1234',
    'message=%1b%5d0;x%07',
    `message=${'m'.repeat(5000)}`,
    'changedFiles=1',
    'author=%E2%80%AE',
  ],
];

function headers(random: Random, { path }: ApiRoute, body: Buffer, { token, key, host }: Material): string[] {
  const all = [
    `Host: ${random.once(20) ? random.pick(['', 'x', '[', 'a b', host.repeat(50)]) : host}`,
    `Authorization: ${authorization(random, path, token)}`,
    `Content-Type: ${random.once(4) ? random.pick(['', 'text/plain', 'multipart/form-data', '/;;q=']) : contentType(path)}`,
  ];
  if (path === sshRoute.path) {
    all.push(`x-sluice-key: ${random.once(8) ? random.pick(['%', '', 'nobody', '%ff']) : key}`);
    all.push(`x-sluice-command: ${random.once(6) ? random.pick(wrongCommands) : random.pick(commands)}`);
  }
  const length = random.once(10) ? random.pick(lengths)(body.length) : `Content-Length: ${body.length}`;
  if (body.length > 0 || random.once(5)) all.push(random.once(4) ? 'Transfer-Encoding: chunked' : length);
  if (random.once(3)) all.push(`Accept: ${random.pick(accepts)}`);
  if (random.once(2))
    all.push(`Connection: ${random.pick(['close', 'close', 'keep-alive', 'upgrade', 'x, y', ''])}`);
  while (random.once(3)) all.push(random.pick(oddHeaders)(random));
  return all;
}

function authorization(random: Random, path: string, token: string): string {
  if (random.once(12))
    return random.pick([
      '',
      'Bearer',
      'Basic !',
      'Bearer x',
      `Basic ${'='.repeat(99)}`,
      `Bearer ${'y'.repeat(9000)}`,
    ]);
  return path.startsWith('/git/') ? `Basic ${btoa(`git:${token}`)}` : `Bearer ${token}`;
}

function contentType(path: string): string {
  const service = /git-(?:receive|upload)-pack$/.exec(path)?.[0];
  return service === undefined ? 'application/json' : `application/x-${service}-request`;
}

const commands = [
  "git-receive-pack '/shop.git'",
  "git-upload-pack 'shop'",
  "git-receive-pack 'fuzz'",
  "git upload-pack '/shop'",
].map(encodeURIComponent);
const wrongCommands = [
  '%',
  '',
  'sh',
  "git-receive-pack '../../etc'",
  "git-upload-pack '-x'",
  "git-receive-pack '%00'",
  '%F0%9F',
];

const lengths: ((length: number) => string)[] = [
  (length) => `Content-Length: ${length + 1000}`,
  (length) => `Content-Length: ${Math.max(0, length - 10)}`,
  () => 'Content-Length: -1',
  () => 'Content-Length: 1e3',
  () => 'Content-Length: 99999999999999999999',
  (length) => `Content-Length: ${length}\r\nContent-Length: ${length + 1}`,
  (length) => `Content-Length: ${length}\r\nTransfer-Encoding: chunked`,
  () => 'Transfer-Encoding: gzip, chunked',
];

const accepts = [
  ...['text/plain', 'application/x-ndjson', 'application/json', '*/*', '', ';q=1', 'text/plain;q=x', ',,,'],
  'a/b,'.repeat(1000),
];

const oddHeaders: ((random: Random) => string)[] = [
  () => 'Expect: 100-continue',
  () => 'Expect: 200-ok',
  () => 'Upgrade: websocket',
  () => 'Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__',
  (random) => `Content-Encoding: ${random.pick(['gzip', 'x-gzip', 'br', 'identity', 'deflate', ''])}`,
  (random) => `X-Forwarded-For: ${random.pick(['1.2.3.4', '::', 'x', ''])}`,
  (random) => `X-Request-Id: ${random.pick(['ok-1', '\t', 'é', '{}', 'a'.repeat(300)])}`,
  (random) => `Git-Protocol: ${random.pick(['version=2', 'version=1', 'version=99', '; rm', ''])}`,
  (random) => `X-${'x'.repeat(random.below(20_000))}: y`,
  (random) =>
    `X-Odd: ${random
      .bytes(random.below(50))
      .toString('latin1')
      .replaceAll(/[\r\n]/g, '')}`,
  () => ' folded: header',
  () => 'No colon',
  () => ': no name',
  () => 'Trailer: X-Late',
  () => 'Range: bytes=0-,-1',
  () => 'Cookie: \x7f=\x01',
  () => 'X-A: b\r\n'.repeat(1990).trimEnd(),
];

function lineEnd(random: Random): string {
  return random.once(40) ? random.pick(['\n', '\r', '\r\n\r\n', '\n\n', '\0']) : '\r\n';
}

function bodyFor(random: Random, { method, path }: ApiRoute, material: Material): Buffer {
  if (method === 'GET' && !random.once(10)) return Buffer.alloc(0);
  if (random.once(15)) return random.bytes(random.below(70_000));
  if (path.endsWith('/releases')) return upload(random, material);
  if (path.endsWith('-pack') || path === sshRoute.path) return packets(random);
  return json(random, path);
}

/** Returns an archive of any kind, mostly cut short. Few are valid, since each valid one takes a second of work. */
function upload(random: Random, { archive }: Material): Buffer {
  if (random.once(40)) return archive;
  const tar = tarball([
    {
      path: random.pick(['package.json', 'a', '../evil', '/etc/x', 'a\0b', 'x'.repeat(90)]),
      content: random.bytes(random.below(20_000)),
    },
    {
      path: 'link',
      type: random.pick(['SymbolicLink', 'Link', 'Directory', 'CharacterDevice', 'FIFO']),
      linkpath: '../..',
    },
    { path: 'large', content: random.bytes(random.below(200_000)), ...(random.once(4) && { size: 10 ** 9 }) },
  ]);
  const packed = random.pick([(bytes: Buffer) => bytes, gzipSync, zstdCompressSync])(tar);
  const whole = random.once(3) ? damaged(random, packed) : packed;
  return random.once(3) ? whole : whole.subarray(0, random.below(whole.length));
}

/** Returns text of a git client: lines with their length before them, and a pack. */
function packets(random: Random): Buffer {
  const line = (text: string) => `${(text.length + 4).toString(16).padStart(4, '0')}${text}`;
  const id = () => random.bytes(20).toString('hex');
  const said = Array.from({ length: random.below(6) }, () =>
    random.pick([
      () => '0000',
      () => '0001',
      () => 'zzzz',
      () => 'ffff',
      () => line(`${'0'.repeat(40)} ${id()} refs/heads/main\0 report-status side-band-64k`),
      () => line(`${id()} ${id()} refs/heads/${random.pick(['x', '../x', 'a'.repeat(300), 'é'])}\n`),
      () => line(`want ${id()}\n`),
      () => line('done\n'),
      () => line('command=ls-refs\n'),
    ])(),
  );
  const pack = random.once(2)
    ? Buffer.concat([Buffer.from('PACK\0\0\0\x02\0\0\0\x01'), random.bytes(random.below(5000))])
    : [];
  const bytes = Buffer.concat([Buffer.from(said.join(''), 'latin1'), Buffer.from(pack)]);
  return random.once(4) ? gzipSync(bytes).subarray(0, random.below(bytes.length + 30)) : bytes;
}

function json(random: Random, path: string): Buffer {
  if (random.once(2)) return Buffer.from(random.pick(oddJson)(random));
  const name = `fuzz-${random.below(3)}`;
  if (path === '/v1/tokens') return Buffer.from(JSON.stringify({ name, app: 'fuzz' }));
  if (path === '/v1/keys')
    return Buffer.from(JSON.stringify({ name, key: `ssh-ed25519 ${random.bytes(60).toString('base64')}` }));
  if (path === '/v1/domains')
    return Buffer.from(
      JSON.stringify({ name: random.pick(['', '*', 'a..b', 'é.com', '-', 'x'.repeat(300)]) }),
    );
  if (path.endsWith('/env'))
    return Buffer.from(
      JSON.stringify({ [random.pick(['A', '__proto__', 'PORT', 'é', ''])]: random.pick(['b', null, 5]) }),
    );
  return Buffer.from(
    JSON.stringify({ workers: random.pick([1, 0, -1, 1e9, null, 'x']), release: random.pick([1, 2, null]) }),
  );
}

const oddJson: ((random: Random) => string | Buffer)[] = [
  () => '',
  () => '{',
  () => 'null',
  () => '[]',
  () => '5',
  () => '"\ud800"',
  () => '{"__proto__": {"admin": true}, "constructor": null}',
  () => '{"a": "\\ud800", "\\u0000": "b"}',
  (random) => '['.repeat(random.below(50_000)),
  (random) => `{"name": "${'n'.repeat(random.below(100_000))}"}`,
  (random) =>
    JSON.stringify(
      Object.fromEntries(Array.from({ length: random.below(2000) }, (_, index) => [`K${index}`, null])),
    ),
  (random) => Buffer.concat([Buffer.from('{"a": "'), random.bytes(100), Buffer.from('"}')]),
  () => `{"name": "x"}${' '.repeat(1_100_000)}`,
];

/** Encodes the body, mostly as the head announces. */
function framed(random: Random, head: string[], body: Buffer): Buffer {
  if (!head.some((line) => /transfer-encoding: chunked/i.test(line)) || random.once(10)) return body;
  const pieces: Buffer[] = [];
  for (let at = 0; at < body.length; ) {
    const size = 1 + random.below(30_000);
    const piece = body.subarray(at, at + size);
    const length = random.once(40)
      ? random.pick(['x', '-1', 'ffffffffffffffff', ''])
      : piece.length.toString(16);
    pieces.push(Buffer.from(`${length}${random.once(20) ? ';a=b' : ''}\r\n`), piece, Buffer.from('\r\n'));
    at += size;
  }
  return Buffer.concat([...pieces, Buffer.from(random.once(10) ? '0\r\nX-Late: x\r\n\r\n' : '0\r\n\r\n')]);
}

/** Changes, removes or inserts some bytes. */
function damaged(random: Random, bytes: Buffer): Buffer {
  const at = random.below(bytes.length + 1);
  const length = random.below(8);
  return Buffer.concat([bytes.subarray(0, at), random.bytes(random.below(8)), bytes.subarray(at + length)]);
}
