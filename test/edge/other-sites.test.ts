import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { connect, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import { Paths } from '../../src/config/paths.ts';
import { Certificates } from '../../src/edge/certificates.ts';
import type { DesiredHost } from '../../src/edge/desired.ts';
import { freePort } from '../support/free-port.ts';
import { machineWithNginx, type NginxMachine } from '../support/nginx.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { wholeFile } from '../support/whole-file.ts';

const ours = 'shop.example.com';
const tooLong = `${'long-'.repeat(12)}x.${'long-'.repeat(12)}x.example.com`;
const { edge: certificates } = new Paths(await temporaryDirectory(wholeFile));
await mkdir(certificates.certificates, { recursive: true });
/** Certificates of each name, made once: each takes a process of its own. */
const pems = new Map<string, string[]>();
for (const name of ['www.example.com', 'blog.example.com', ours, ours, tooLong]) {
  await new Certificates(certificates).selfSign(name);
  pems.set(name, [...(pems.get(name) ?? []), await readFile(certificates.certificate(name), 'utf8')]);
}

/** Names of the configurations below, an unknown name, the address as a name, and no name. */
const names = [
  'www.example.com',
  'blog.example.com',
  'a.wild.example.com',
  'unknown.example.net',
  '127.0.0.1',
  '',
];

/** Ports, certificates and directories that a configuration may name. */
interface Means {
  http: number;
  https: number;
  /** port of another site only */
  other: number;
  directory: string;
  /** directives for a certificate of the name */
  tls(name: string): string;
  /** port of another program */
  backend: number;
}

interface Configuration {
  /** by path in nginx's directory */
  files(means: Means): Record<string, string>;
  /** in nginx.conf, before and after the includes */
  before?(means: Means): string;
  after?(means: Means): string;
  /** includes other than those of Debian */
  includes?: string;
  /** error of `domains add`, if it is refused */
  refused?: RegExp;
  /** also has nginx refuse a configuration, and replaces the certificate */
  hasAllSteps?: boolean;
}

const site = (listen: string, name: string, more = '') => `
server {
  ${listen}
  server_name ${name};
  ${more}
  location / { return 200 "${name}: $host\n"; }
}`;

const configurations: Record<string, Configuration> = {
  "Debian's default site": {
    files: ({ http }) => ({
      'sites-enabled/default': site(
        `listen ${http} default_server; listen [::]:${http} default_server;`,
        '_',
      ),
    }),
  },
  'one site, IPv4 only, without default_server': {
    files: ({ http }) => ({ 'sites-enabled/www': site(`listen ${http};`, 'www.example.com') }),
  },
  'two sites on both families, the second is the default': {
    files: ({ http }) => ({
      'sites-enabled/a': site(`listen ${http}; listen [::]:${http};`, 'blog.example.com'),
      'sites-enabled/b': site(
        `listen ${http} default_server; listen [::]:${http} default_server;`,
        'www.example.com',
      ),
    }),
  },
  'http and https, two names, no default_server': {
    hasAllSteps: true,
    files: ({ http, https, tls }) => ({
      'sites-enabled/www': site(
        `listen ${http}; listen ${https} ssl;`,
        'www.example.com',
        tls('www.example.com'),
      ),
      'sites-enabled/blog': site(
        `listen *:${http}; listen *:${https} ssl;`,
        'blog.example.com',
        tls('blog.example.com'),
      ),
    }),
  },
  'a site in nginx.conf before the includes': {
    files: () => ({}),
    before: ({ http }) => site(`listen ${http};`, 'www.example.com'),
  },
  'a site in nginx.conf after the includes, without default_server': {
    files: () => ({}),
    after: ({ http }) => site(`listen ${http};`, 'www.example.com'),
    refused: /no site on port \d+ has "default_server", and nginx reads the site in .*nginx\.conf after/,
  },
  'conf.d alone, read before ours': {
    files: ({ http }) => ({ 'conf.d/default.conf': site(`listen ${http};`, 'www.example.com') }),
    includes: 'conf.d/*.conf',
  },
  'conf.d alone, read after ours': {
    files: ({ http }) => ({ 'conf.d/www.conf': site(`listen ${http};`, 'www.example.com') }),
    includes: 'conf.d/*.conf',
    refused: /has "default_server", and nginx reads the site in .*www\.conf after/,
  },
  'wildcard names': {
    files: ({ http, https, tls }) => ({
      'sites-enabled/wild': site(
        `listen ${http}; listen ${https} ssl;`,
        '*.wild.example.com .example.org',
        tls('www.example.com'),
      ),
      'sites-enabled/www': site(`listen ${http} default_server;`, 'www.example.com'),
    }),
  },
  'names by regular expressions': {
    files: ({ http }) => ({
      'sites-enabled/regex': site(
        `listen ${http};`,
        String.raw`"~^(?<user>[a-z]{1,9})\.wild\.example\.com$"`.replaceAll('"', "'"),
      ).replace(/return 200 "[^\n]*\n"/, 'return 200 "regex: $user\n"'),
      'sites-enabled/www': site(`listen ${http};`, 'www.example.com'),
    }),
  },
  'a catch-all of their own': {
    files: ({ http, https, tls }) => ({
      'sites-enabled/00-drop': `
        server { listen ${http} default_server; server_name _; return 444; }
        server { listen ${https} ssl default_server; server_name _; ssl_reject_handshake on; }`,
      'sites-enabled/www': site(
        `listen ${http}; listen ${https} ssl;`,
        'www.example.com',
        tls('www.example.com'),
      ),
    }),
  },
  "certbot's": {
    hasAllSteps: true,
    files: ({ http, https, tls }) => ({
      'sites-enabled/www': `
        server {
          server_name www.example.com;
          location / { return 200 "www"; }
          listen [::]:${https} ssl ipv6only=on; # managed by Certbot
          listen ${https} ssl; # managed by Certbot
          ${tls('www.example.com')} # managed by Certbot
          include options-ssl-nginx.conf; # managed by Certbot
        }
        server {
          if ($host = www.example.com) {
            return 301 https://$host$request_uri;
          } # managed by Certbot
          listen ${http} default_server;
          listen [::]:${http} default_server;
          server_name www.example.com;
          return 404; # managed by Certbot
        }`,
      'options-ssl-nginx.conf': `
        ssl_session_cache shared:le_nginx_SSL:10m;
        ssl_session_timeout 1440m;
        ssl_session_tickets off;
        ssl_protocols TLSv1.2;
        ssl_ciphers "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256";`,
    }),
  },
  'https with HTTP/2 on the socket': {
    files: ({ https, tls }) => ({
      'sites-enabled/www': site(`listen ${https} ssl http2;`, 'www.example.com', tls('www.example.com')),
    }),
  },
  'https without HTTP/2': {
    files: ({ https, tls }) => ({
      'sites-enabled/www': site(`listen ${https} ssl;`, 'www.example.com', tls('www.example.com')),
      'sites-enabled/blog': site(
        `listen ${https} ssl default_server;`,
        'blog.example.com',
        tls('blog.example.com'),
      ),
    }),
  },
  'a reverse proxy of another tool': {
    files: ({ http, backend }) => ({
      'conf.d/00-proxy.conf': `
        map $http_upgrade $connection_upgrade { default upgrade; '' close; }
        upstream backend { server 127.0.0.1:${backend}; keepalive 8; }
        server {
          listen ${http} reuseport backlog=1024;
          server_name www.example.com;
          location / {
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header Host $host;
          }
        }`,
    }),
  },
  'the PROXY protocol on the socket': {
    files: ({ http }) => ({ 'sites-enabled/www': site(`listen ${http} proxy_protocol;`, 'www.example.com') }),
    refused: /www has nginx expect the PROXY protocol on port \d+/,
  },
  'stub_status on the loopback, at another port': {
    files: ({ http, other }) => ({
      'conf.d/status.conf': `server { listen 127.0.0.1:${other}; location / { return 200 "status"; } }`,
      'sites-enabled/www': site(`listen ${http};`, 'www.example.com'),
    }),
  },
  'a site on the loopback alone, at our port': {
    files: ({ http }) => ({ 'sites-enabled/local': site(`listen 127.0.0.1:${http};`, 'www.example.com') }),
    refused: /local listens on port \d+ of 127\.0\.0\.1 alone/,
  },
  'a site on one address, and another on all': {
    files: ({ http }) => ({
      'sites-enabled/local': site(`listen 127.0.0.1:${http};`, 'www.example.com'),
      'sites-enabled/all': site(`listen ${http};`, 'blog.example.com'),
    }),
  },
  'one socket for both families': {
    hasAllSteps: true,
    files: ({ http }) => ({
      'sites-enabled/www': site(`listen [::]:${http} ipv6only=off default_server;`, 'www.example.com'),
    }),
  },
  'a site with the name that is added': {
    files: ({ http }) => ({
      'sites-enabled/00': site(`listen ${http} default_server;`, '_'),
      'sites-enabled/shop': site(`listen ${http};`, `www.example.com Shop.Example.com`),
    }),
    refused: /shop has a site with the name shop\.example\.com on port \d+ already/,
  },
  'includes within servers, quotes and comments': {
    files: ({ http, directory }) => ({
      'sites-enabled/www': `
        # server { listen ${http} default_server; }
        server { # }
          include ${directory}/snippets/*.conf;
          server_name "www.example.com" 'blog.example.com';
          add_header X-Braces "} server { listen ${http} default_server; \\" {";
          location ~ "^/\\w{2,9}$" { return 200 "quoted"; }
          location / { return 200 'www {}'; }
        }`,
      'snippets/listen.conf': `listen\n  ${http}\n;`,
    }),
  },
  'plain HTTP at the port for https': {
    files: ({ https }) => ({ 'sites-enabled/www': site(`listen ${https};`, 'www.example.com') }),
    refused: /www serves port \d+ without TLS/,
  },
};

describe('all answers of other sites stay the same (thorough)', { concurrency: 3 }, () => {
  for (const [title, configuration] of Object.entries(configurations)) {
    test(title, async (t) => {
      const { machine, apply, hostOf, snapshot } = await start(t, configuration);
      const before = await snapshot();
      assert.ok(
        Object.values(before).some((answer) => !answer.startsWith('ECONN')),
        JSON.stringify(before),
      );
      const watch = watching(snapshot, before);
      const step = async (what: string, desired: DesiredHost[], error: RegExp | null) => {
        const outcome = await apply(desired);
        if (error === null) assert.equal(outcome, null, what);
        else assert.match(outcome?.message ?? '', error, what);
        assert.deepEqual(await snapshot(), before, what);
      };
      const { refused = null, hasAllSteps = false } = configuration;
      await step('added', [hostOf(ours)], refused);
      if (refused === null) {
        const [status, certificate] = await machine.answer();
        assert.deepEqual([status, certificate], ['503', ours]);
      }
      if (hasAllSteps) {
        await step('refused by nginx', [hostOf(ours), hostOf(tooLong)], /server_names_hash/);
        await step('another certificate', [hostOf(ours, 1)], null);
      }
      await step('removed', [], null);
      const { rounds, differences } = await watch.end();
      assert.deepEqual(differences, []);
      t.diagnostic(`${Object.keys(before).length} questions, asked ${rounds} times during the changes`);
    });
  }
});

test('Sluice listens on the specific addresses of another site', {
  skip: ownAddress() === undefined && 'this machine has no address but the loopback',
}, async (t) => {
  const address = ownAddress() as string;
  const { machine, apply, hostOf, snapshot } = await start(t, {
    files: ({ http }) => ({ 'sites-enabled/www': site(`listen ${address}:${http};`, 'www.example.com') }),
  });
  const before = await snapshot(address);
  assert.equal(await apply([hostOf(ours)]), null);
  assert.deepEqual(await snapshot(address), before);
  assert.match(
    await readFile(machine.lastConfig, 'utf8'),
    new RegExp(`listen ${address.replaceAll('.', '\\.')}:\\d+;`),
  );
  assert.match(await askPlain(address, machine.http, ours), /^HTTP\/1\.1 301 /);
});

async function start(t: TestContext, { files, before, after, includes }: Configuration) {
  const machine = await machineWithNginx(t);
  const { directory, http, https } = machine;
  const home = await temporaryDirectory(t);
  await chmod(home, 0o711);
  const paths = new Paths(home);
  await mkdir(paths.edge.certificates, { recursive: true });
  const backend = createServer((_request, response) => response.end('backend')).listen(0, '127.0.0.1');
  await new Promise((resolve) => backend.once('listening', resolve));
  t.after(() => backend.close());
  const means: Means = {
    ...{ http, https, other: await freePort(), directory },
    tls: (name) => {
      const path = certificates.certificate(name);
      return `ssl_certificate ${path}; ssl_certificate_key ${path};`;
    },
    backend: (backend.address() as { port: number }).port,
  };
  await mkdir(join(directory, 'sites-enabled'), { recursive: true });
  for (const [path, text] of Object.entries(files(means))) {
    await mkdir(dirname(join(directory, path)), { recursive: true });
    await writeFile(join(directory, path), text);
  }
  await writeFile(machine.mainConfig, mainConfig(directory, before?.(means), after?.(means), includes));
  await machine.nginx();
  const ports = { plain: [http, means.other], tls: [https] };
  const used = await usedPorts([...ports.plain, ...ports.tls]);
  const snapshot = async (address?: string) => {
    const answers: Record<string, string> = {};
    for (const host of address === undefined ? ['127.0.0.1', ...ipv6] : [address])
      for (const port of used)
        for (const name of names) {
          const key = `${host} ${port === https ? 'https' : port === http ? 'http' : 'other'} ${name}`;
          answers[key] =
            port === https ? await askSecure(host, port, name) : await askPlain(host, port, name);
        }
    return answers;
  };
  let revision = 0;
  const apply = async (desired: DesiredHost[]) => {
    revision += 1;
    for (const { name, certificate } of desired) {
      const pem = pems.get(name)?.find((each) => sha256(each) === certificate);
      await writeFile(paths.edge.certificate(name), pem ?? '');
    }
    await writeFile(paths.edge.desired, JSON.stringify({ revision, hosts: desired }));
    const { code, stderr } = await machine.apply(home);
    assert.equal(code, 0, stderr);
    return (await machine.outcome(home)).error;
  };
  const closed = await freePort();
  const hostOf = (name: string, index = 0): DesiredHost => {
    const certificate = sha256(pems.get(name)?.[index] ?? '');
    return { name, address: '127.0.0.1', port: closed, certificate };
  };
  const answer = () => askOurs(machine);
  return { machine: Object.assign(machine, { answer }), apply, hostOf, snapshot };
}

const ipv6 = existsSync('/proc/net/if_inet6') ? ['::1'] : [];

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** Returns a configuration like Debian's. */
function mainConfig(directory: string, before = '', after = '', includes = ''): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((kind) => `${kind}_temp_path ${directory}/${kind};`)
    .join('\n  ');
  const included = includes === '' ? ['conf.d/*.conf', `${directory}/sites-enabled/*`] : [includes];
  return `
worker_processes 2;
pid ${directory}/nginx.pid;
error_log ${directory}/error.log;
events { worker_connections 768; }
http {
  access_log off;
  ${temporary}
  server_tokens off;
  ${before}
  ${included.map((pattern) => `include ${pattern};`).join('\n  ')}
  ${after}
}
`;
}

/** Returns the ports that other sites listen on. */
async function usedPorts(ports: number[]): Promise<number[]> {
  const used = new Set<number>();
  for (const port of ports)
    for (const host of ['127.0.0.1', ...ipv6, ...(ownAddress() ?? '').split(' ').filter(Boolean)])
      if (!(await askPlain(host, port, 'x')).startsWith('ECONNREFUSED')) used.add(port);
  return [...used];
}

/** Repeats the requests, and collects the answers that differ. */
function watching(snapshot: () => Promise<Record<string, string>>, before: Record<string, string>) {
  const differences: string[] = [];
  let rounds = 0;
  let isOver = false;
  const running = (async () => {
    while (!isOver) {
      for (const [key, answer] of Object.entries(await snapshot()))
        if (answer !== before[key]) differences.push(`${key}: ${answer} instead of ${before[key]}`);
      rounds += 1;
      await sleep(20);
    }
  })();
  return {
    async end() {
      isOver = true;
      await running;
      return { rounds, differences: differences.slice(0, 10) };
    },
  };
}

/** Returns an answer without its date, or the code of an error. */
function askPlain(host: string, port: number, name: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, host);
    let answer = '';
    socket.setEncoding('latin1').on('data', (text: string) => {
      answer += text;
    });
    socket.on('error', ({ code = 'E' }: NodeJS.ErrnoException) => resolve(code));
    socket.on('close', () => resolve(withoutDate(answer)));
    limit(socket, resolve);
    socket.end(requestFor(name));
  });
}

/** Returns the certificate's name, the protocols, and the answer over HTTP/1.1; or the code of an error. */
function askSecure(host: string, port: number, name: string): Promise<string> {
  return new Promise((resolve) => {
    const servername = /^[a-z]/.test(name) ? name : '';
    const socket = connectTls({
      host,
      port,
      servername,
      rejectUnauthorized: false,
      ALPNProtocols: ['h2', 'http/1.1'],
    });
    let answer = '';
    socket.setEncoding('latin1').on('data', (text: string) => {
      answer += text;
    });
    socket.on('error', ({ code = 'E' }: NodeJS.ErrnoException) => resolve(code));
    limit(socket, resolve);
    socket.on('secureConnect', () => {
      const about = [
        socket.getPeerCertificate().fingerprint256,
        socket.alpnProtocol,
        socket.getProtocol(),
      ].join(' ');
      if (socket.alpnProtocol === 'h2') {
        socket.destroy();
        return resolve(about);
      }
      socket.write(requestFor(name));
      socket.on('close', () => resolve(`${about} ${withoutDate(answer)}`));
    });
  });
}

function limit(socket: Socket, resolve: (answer: string) => void): void {
  socket.setTimeout(20_000, () => {
    resolve('no answer within 20 s');
    socket.destroy();
  });
}

function requestFor(name: string): string {
  return name === ''
    ? 'GET / HTTP/1.0\r\n\r\n'
    : `GET /ab?c HTTP/1.1\r\nHost: ${name}\r\nConnection: close\r\n\r\n`;
}

function withoutDate(answer: string): string {
  return answer.replace(/^Date: .*\r\n/m, '');
}

/** Returns the status of our host over https, and the name of its certificate. */
async function askOurs({ https }: NginxMachine): Promise<[string | undefined, string | undefined]> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({
      host: '127.0.0.1',
      port: https,
      servername: ours,
      rejectUnauthorized: false,
    });
    let answer = '';
    socket.setEncoding('latin1').on('data', (text: string) => {
      answer += text;
    });
    socket.on('error', reject);
    socket.on('secureConnect', () => {
      const name = /DNS:([^,]*)/.exec(socket.getPeerCertificate().subjectaltname ?? '')?.[1];
      socket.write(requestFor(ours));
      socket.on('close', () => resolve([/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1], name]));
    });
  });
}

function ownAddress(): string | undefined {
  return Object.values(networkInterfaces())
    .flatMap((addresses = []) => addresses)
    .find(({ family, internal }) => family === 'IPv4' && !internal)?.address;
}
