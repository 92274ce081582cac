import assert from 'node:assert/strict';
import { test } from 'node:test';
import { diffLines, takeBack } from '../../src/import/diff.ts';
import { replaceProxies } from '../../src/import/proxies.ts';
import { findUnmoved } from '../../src/import/unmoved.ts';

const to = { host: '127.0.0.1', port: 9001 };
const replaced = (text: string, ...ports: number[]) => replaceProxies(text, new Set(ports), to);

test('addresses in proxies and upstreams are replaced, and nothing else', () => {
  const before = `# proxy_pass http://localhost:3000;
upstream shop {
  least_conn; # server 127.0.0.1:3000;
  server 127.0.0.1:3000 max_fails=0;
  server localhost:3001;
  server 10.255.255.5:3000 backup;
}
upstream other { server 127.0.0.1:3001; }
server {
  listen 3000;
  set $back "http://localhost:3000";
  location / { proxy_pass http://[::1]:3000/x?y; proxy_set_header Host "a;b:3000"; }
  location /a { proxy_pass http://shop; }
  location /b { proxy_pass http://localhost:30000; }
  location /c { grpc_pass grpc://localhost:3000; }
  location /d { proxy_pass 'http://0.0.0.0:3000'; }
}
`;
  assert.deepEqual(diffLines(before, replaced(before, 3000, 3001)), [
    '-   4    server 127.0.0.1:3000 max_fails=0;',
    '-   5    server localhost:3001;',
    '+   4    server 127.0.0.1:9001 max_fails=0;',
    '-   8  upstream other { server 127.0.0.1:3001; }',
    '+   7  upstream other { server 127.0.0.1:9001; }',
    '-  11    set $back "http://localhost:3000";',
    '-  12    location / { proxy_pass http://[::1]:3000/x?y; proxy_set_header Host "a;b:3000"; }',
    '+  10    set $back "http://127.0.0.1:9001";',
    '+  11    location / { proxy_pass http://127.0.0.1:9001/x?y; proxy_set_header Host "a;b:3000"; }',
    '-  15    location /c { grpc_pass grpc://localhost:3000; }',
    "-  16    location /d { proxy_pass 'http://0.0.0.0:3000'; }",
    '+  14    location /c { grpc_pass grpc://127.0.0.1:9001; }',
    "+  15    location /d { proxy_pass 'http://127.0.0.1:9001'; }",
  ]);
});

test('addresses are replaced with all that follows the port, and as values of variables', () => {
  const before = `map $http_upgrade $back { default http://127.0.0.1:3000; "http://localhost:3000" $http_origin; }
split_clients $remote_addr $side { 50% 127.0.0.1:3000; * "127.0.0.1:3001"; }
server {
  location / { proxy_pass http://127.0.0.1:3000$request_uri; }
  location /a { proxy_pass http://127.0.0.1:3000?a=1; proxy_redirect http://127.0.0.1:3000/ /; }
}
`;
  const after = `map $http_upgrade $back { default http://127.0.0.1:9001; "http://localhost:3000" $http_origin; }
split_clients $remote_addr $side { 50% 127.0.0.1:9001; * "127.0.0.1:9001"; }
server {
  location / { proxy_pass http://127.0.0.1:9001$request_uri; }
  location /a { proxy_pass http://127.0.0.1:9001?a=1; proxy_redirect http://127.0.0.1:9001/ /; }
}
`;
  assert.equal(replaced(before, 3000, 3001), after);
});

test('of the servers of an upstream, one remains that gets requests', () => {
  const down =
    'upstream a {\n  server 127.0.0.1:3000 down;\n  server 127.0.0.1:3001 backup;\n  server 127.0.0.1:3002 weight=3;\n}\n';
  assert.equal(replaced(down, 3000, 3001, 3002), 'upstream a {\n  server 127.0.0.1:9001 weight=3;\n}\n');
  const backup =
    'upstream a { server 10.255.255.5:80; server 127.0.0.1:3000 down; server 127.0.0.1:3001 backup; }';
  assert.equal(
    replaced(backup, 3000, 3001),
    'upstream a { server 10.255.255.5:80;  server 127.0.0.1:9001 backup; }',
  );
  const alone = 'upstream a { server 127.0.0.1:3000 down; }';
  assert.equal(replaced(alone, 3000), alone.replace('3000', '9001'));
});

test('lines that still send requests to the port are found, and no others', async () => {
  const numbers = async (text: string) =>
    (await findUnmoved(new Map([['site', text]]), new Set([3000]))).map(({ number }) => number);
  const moved = `# proxy_pass http://127.0.0.1:3000;
server {
  listen 127.0.0.1:3000; server_name shop.example.com:3000;
  set $limit 3000;
  location ~ ^/a:3000 { proxy_pass http://127.0.0.1:9001; proxy_set_header Host $host:3000; }
  location /b { proxy_pass http://10.255.255.5:3000; add_header X http://localhost:3000; }
  location /c { proxy_pass http://127.0.0.1:30000; proxy_set_header Host $host:$server_port; }
  location /d { proxy_pass http://name.invalid:3000; }
  location /e { content_by_lua_block { socket:settimeout(3000) -- http://127.0.0.1:3000 } }
}
`;
  assert.deepEqual(await numbers(moved), []);
  const ownFile = '# Written by Sluice (sluice-edge.service)\nupstream a { server 127.0.0.1:3000; }\n';
  assert.deepEqual(await numbers(ownFile), []);
  const left = `map $host $port { default 9001; a 3000; }
server {
  set $other 3000;
  location / { fastcgi_pass 127.0.0.1:3000; }
  location /a { proxy_pass http://127.0.0.1:\${port}; }
  location /b { return 302 http://$host:3000/; }
  location /c { proxy_redirect ~^http://127\\.0\\.0\\.1:3000/(.*)$ /$1; }
  location /d { content_by_lua_block { socket:connect("127.0.0.1", 3000) } }
}
`;
  assert.deepEqual(await numbers(left), [1, 3, 4, 6, 7, 8]);
});

test('a file without the port stays the same', () => {
  const text = 'server { location / { proxy_pass http://example.com:3000; } }\n';
  assert.equal(replaced(text, 3000), text);
  assert.equal(
    replaced('server { proxy_pass http://localhost:3000', 3000),
    'server { proxy_pass http://localhost:3000',
  );
});

test('a change is taken back although the file was changed elsewhere since', () => {
  const before =
    'upstream a {\n  server 127.0.0.1:3000;\n  server 127.0.0.1:3001;\n}\nupstream b { server 127.0.0.1:4000; }\n';
  const after = replaced(before, 3000, 3001);
  const later = replaceProxies(after, new Set([4000]), { host: '127.0.0.1', port: 9002 });
  assert.equal(takeBack(after, { before, after }), before);
  assert.equal(takeBack(later, { before, after }), before.replace(':4000', ':9002'));
  // Twice the same line, or none: nobody knows which one to replace.
  assert.equal(takeBack(`${after}${after}`, { before, after }), undefined);
  assert.equal(takeBack('', { before, after }), undefined);
});
