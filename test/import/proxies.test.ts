import assert from 'node:assert/strict';
import { test } from 'node:test';
import { diffLines, takeBack } from '../../src/import/diff.ts';
import { replaceProxies } from '../../src/import/proxies.ts';

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
