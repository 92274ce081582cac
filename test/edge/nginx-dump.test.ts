import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findOtherSites, planListening } from '../../src/edge/listening.ts';
import { parseDump } from '../../src/edge/nginx-dump.ts';

const own = '/etc/nginx/conf.d/sluice.conf';

/** Returns the output of `nginx -T` for these files; the first one is the main one. */
function dump(files: Record<string, string>): string {
  return Object.entries(files)
    .map(([path, text]) => `# configuration file ${path}:\n${text}\n`)
    .join('');
}

function sitesOf(http: string, files: Record<string, string> = {}, place = own) {
  const main = `events {}\nhttp {\n${http}\n}\n`;
  const text = dump({ '/etc/nginx/nginx.conf': main, ...files });
  return findOtherSites(parseDump(text, [place]), place);
}

async function socketsOf(listens: string) {
  const sites = await sitesOf(`server { ${listens} }`);
  return sites.listens.map(({ address, port }) => `${address} ${port}`);
}

test('every form of `listen` is parsed', async () => {
  for (const [listen, expected] of [
    ['', ['0.0.0.0 80']],
    ['listen 8080;', ['0.0.0.0 8080']],
    ['listen *:8080;', ['0.0.0.0 8080']],
    ['listen *;', ['0.0.0.0 80']],
    ['listen 192.0.2.1;', ['192.0.2.1 80']],
    ['listen 192.0.2.1:81 backlog=5;', ['192.0.2.1 81']],
    ['listen [::]:80 ipv6only=on;', [':: 80']],
    ['listen [2001:DB8:0::1];', ['2001:db8::1 80']],
    ['listen [::1]:443 ssl;', ['::1 443']],
    ['listen unix:/run/x.sock;', []],
    ['listen 443 quic; listen 443 ssl;', ['0.0.0.0 443']],
    ['listen 8000-8002;', ['0.0.0.0 8000', '0.0.0.0 8001', '0.0.0.0 8002']],
    ['listen 127.0.0.1:8000-8001;', ['127.0.0.1 8000', '127.0.0.1 8001']],
    ['listen "80";', ['0.0.0.0 80']],
  ] as const)
    assert.deepEqual(await socketsOf(listen), expected, listen);
});

test('a site in a comment, a string or a program is ignored', async () => {
  const { listens } = await sitesOf(String.raw`
    # server { listen 81; }
    log_format x '$remote_addr "server { listen 82; }" \'{';
    map $uri $target { "~^/a{1,3};" "server { listen 83; }"; default ''; }
    server {
      listen 80; # }
      set $brace "${'$'}{uri}}";
      location /lua {
        content_by_lua_block {
          local t = { "}", '}' } -- }
          ngx.say([[ } listen 84; ]]) --[[ } ]]
        }
      }
      location ~ \.(a|b){2}$ { return 200 ';}'; }
    }`);
  assert.deepEqual(
    listens.map(({ port }) => port),
    [80],
  );
});

test('a socket has the options and the names of all its sites', async () => {
  const others = await sitesOf(`
    server { listen 443 ssl; server_name A.example.com; }
    server { listen 443 http2 default; server_name b.example.com c.example.com; }`);
  const options = { ports: { http: 80, https: 443 }, ipv6: false, newNames: [], open: [], isStrict: true };
  const { https } = planListening(others, options);
  assert.deepEqual(https, [{ address: '0.0.0.0', isShared: true, http2: true }]);
  for (const name of ['a.example.com', 'b.example.com', 'c.example.com'])
    assert.throws(() => planListening(others, { ...options, newNames: [name] }), /with the name/, name);
});

test('files are read in the order of their includes, and our file in its place', async () => {
  const http = 'include conf.d/*.conf;\ninclude /etc/nginx/sites-enabled/*;';
  const before = (path: string) =>
    sitesOf(http, { [path]: 'server { listen 80; }' }).then(({ listens }) => listens[0]?.isBefore);
  assert.equal(await before('/etc/nginx/conf.d/default.conf'), true);
  assert.equal(await before('/etc/nginx/conf.d/www.conf'), false);
  assert.equal(await before('/etc/nginx/sites-enabled/default'), false);
  for (const unread of [
    'conf.d/www.conf.off',
    'conf.d/.hidden.conf',
    'conf.d/deep/www.conf',
    'sites-enabled/.x',
  ])
    assert.equal(await before(`/etc/nginx/${unread}`), undefined, unread);
  const last = '/etc/nginx/sites-enabled/zzz-sluice.conf';
  const { listens } = await sitesOf(http, { '/etc/nginx/sites-enabled/www': 'server { listen 80; }' }, last);
  assert.equal(listens[0]?.isBefore, true);
});

test('a port that is passed on as a stream is refused, with the file', async () => {
  const text = dump({
    '/etc/nginx/nginx.conf': 'events {}\nstream { include /etc/nginx/streams/*; }\nhttp { }',
    '/etc/nginx/streams/tls': 'server { listen 443; listen [::]:443; proxy_pass x; }',
  });
  const others = await findOtherSites(parseDump(text, [own]), own);
  assert.throws(
    () =>
      planListening(others, {
        ports: { http: 80, https: 443 },
        ipv6: true,
        newNames: [],
        open: [],
        isStrict: true,
      }),
    {
      message: /^conflict with another site of nginx: \/etc\/nginx\/streams\/tls has nginx pass on port 443/,
    },
  );
});

test('a name that nginx serves already is not refused, so certificates can be renewed', async () => {
  const others = await sitesOf('server { listen 80 default_server; server_name shop.example.com; }');
  const options = { ports: { http: 80, https: 443 }, ipv6: true, open: [], isStrict: true };
  assert.throws(() => planListening(others, { ...options, newNames: ['shop.example.com'] }), {
    name: 'Error',
  });
  const { http, https } = planListening(others, { ...options, newNames: [] });
  assert.deepEqual(http, [{ address: '0.0.0.0', isShared: true, http2: false }]);
  assert.deepEqual(
    https.map(({ address, isShared }) => [address, isShared]),
    [
      ['0.0.0.0', false],
      ['::', false],
    ],
  );
});

test('a site of Sluice stays when another site conflicts with it later', async () => {
  const options = { ports: { http: 80, https: 443 }, ipv6: false, newNames: [], open: [] };
  const late = await sitesOf('include conf.d/*.conf;\nserver { listen 80; }');
  const alone = await sitesOf('server { listen 127.0.0.1:80; }');
  for (const others of [late, alone])
    assert.throws(
      () => planListening(others, { ...options, isStrict: true }),
      /conflict with another site of nginx/,
    );
  assert.equal(planListening(late, { ...options, isStrict: false }).http.length, 1);
  const addresses = [
    { address: '0.0.0.0', isShared: false, http2: true },
    { address: '127.0.0.1', isShared: true, http2: false },
  ];
  assert.deepEqual(planListening(alone, { ...options, isStrict: false }).http, addresses);
  assert.deepEqual(planListening(alone, { ...options, isStrict: true, open: [80] }).http, addresses);
});
