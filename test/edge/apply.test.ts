import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmod, chown, mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import * as v from 'valibot';
import { Paths } from '../../src/config/paths.ts';
import { serverSettingsSchema } from '../../src/config/server-settings.ts';
import { parseSettings } from '../../src/config/settings-file.ts';
import { Certificates } from '../../src/edge/certificates.ts';
import { desiredSchema } from '../../src/edge/desired.ts';
import { Edge } from '../../src/edge/edge.ts';
import { createLog } from '../../src/system/log/log.ts';
import { fetchText } from '../support/http.ts';
import { askHost } from '../support/https.ts';
import { machineWithNginx, type NginxMachine } from '../support/nginx.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

interface Home {
  machine: NginxMachine;
  home: string;
  paths: Paths;
  /** writes `wanted.json`, applies it, and returns the error */
  want: (content: unknown, options?: string[]) => Promise<{ message: string; hint: string } | null>;
  /** lists the hosts in nginx's configuration */
  hosts: () => Promise<string[]>;
  good: { name: string; address: string; port: number; certificate: string };
}

/** Options with a short time for a reload. */
const soon = ['--reload-deadline', '2000'];

/** Creates a home with a certificate, and an nginx that serves it. */
async function newHome(t: TestContext): Promise<Home> {
  const machine = await machineWithNginx(t);
  const home = await temporaryDirectory(t);
  await chmod(home, 0o711);
  const paths = new Paths(home);
  await mkdir(paths.edge.certificates, { recursive: true });
  const { fingerprint } = await new Certificates(paths.edge).selfSign('shop.example.com');
  const want = async (content: unknown, options: string[] = []) => {
    const text = typeof content === 'string' ? content : JSON.stringify(content);
    await writeFile(paths.edge.desired, text);
    assert.equal((await machine.apply(home, options)).code, 0);
    return (await machine.outcome(home)).error;
  };
  const hosts = async () => {
    const text = await readFile(machine.config, 'utf8').catch(() => '');
    const names = [...text.matchAll(/server_name (\S+);/g)].map(([, name]) => name ?? '');
    return [...new Set(names)].filter((name) => name !== 'sluice.invalid');
  };
  const good = { name: 'shop.example.com', address: '127.0.0.1', port: 9001, certificate: fingerprint };
  return { machine, home, paths, want, hosts, good };
}

test('an invalid wanted.json is refused, and nginx keeps its configuration', async (t) => {
  const { machine, want, hosts, good } = await newHome(t);
  assert.equal(await want({ revision: 1, hosts: [good] }), null);
  const before = await readFile(machine.config, 'utf8');
  const with_ = (changes: object) => ({ revision: 2, hosts: [{ ...good, ...changes }] });
  for (const wrong of [
    '{',
    with_({ name: 'shop.example.com; } server { listen 81' }),
    with_({ certificate: '0'.repeat(64) }),
    with_({ file: '/etc/shadow' }),
  ]) {
    const error = await want(wrong);
    assert.match(
      error?.message ?? '',
      /^(?:wanted\.json is |the certificate of )/,
      JSON.stringify(wrong).slice(0, 200),
    );
    assert.ok(!error?.message.includes('shadow'), 'the message does not repeat the value');
  }
  assert.equal(await readFile(machine.config, 'utf8'), before);
  assert.deepEqual(await hosts(), ['shop.example.com']);
  assert.equal(await want({ revision: 3, hosts: [] }), null);
  assert.deepEqual(await hosts(), []);
});

test('only names with numeric addresses and ports are valid in wanted.json', () => {
  const good = { name: 'shop.example.com', address: '127.0.0.1', port: 9001, certificate: 'a'.repeat(64) };
  const with_ = (changes: object) => ({ revision: 2, hosts: [{ ...good, ...changes }] });
  assert.ok(v.is(desiredSchema, with_({})));
  for (const wrong of [
    null,
    [],
    { revision: 2 },
    { revision: 0, hosts: [] },
    { revision: 1.5, hosts: [] },
    { revision: 2, hosts: [], more: true },
    { revision: 2, hosts: [good, good] },
    { revision: 2, hosts: Array.from({ length: 2001 }, (_, n) => ({ ...good, name: `h${n}.example.com` })) },
    with_({ name: 'shop.example.com; } server { listen 81' }),
    with_({ name: 'shop.example.com\n' }),
    with_({ name: '../../etc/shadow.example' }),
    with_({ name: '*.example.com' }),
    with_({ name: 'default_server' }),
    with_({ port: 0 }),
    with_({ port: 65_536 }),
    with_({ port: '9001' }),
    with_({ address: 'example.com' }),
    with_({ address: '127.0.0.1:80; }' }),
    with_({ address: 'fe80::1%eth0' }),
    with_({ address: 'unix:/run/docker.sock' }),
    with_({ certificate: '/etc/shadow' }),
    with_({ file: '/etc/shadow' }),
  ])
    assert.equal(v.is(desiredSchema, wrong), false, JSON.stringify(wrong).slice(0, 200));
});

test('a wanted.json, certificate or applied.json that is a link or a FIFO is not followed (thorough)', async (t) => {
  const { machine, home, paths, want, hosts, good } = await newHome(t);
  const secret = join(machine.directory, 'secret');
  const pem = await readFile(paths.edge.certificate(good.name), 'utf8');
  await writeFile(secret, pem);
  const { certificate } = good;
  assert.equal(createHash('sha256').update(pem).digest('hex'), certificate);
  await rm(paths.edge.certificate(good.name));
  await symlink(secret, paths.edge.certificate(good.name));
  assert.match((await want({ revision: 1, hosts: [good] }))?.message ?? '', /ELOOP/);
  await rm(paths.edge.certificate(good.name));
  await promisify(execFile)('mkfifo', [paths.edge.certificate(good.name)]);
  assert.match((await want({ revision: 2, hosts: [good] }))?.message ?? '', /is not a regular file/);
  assert.deepEqual(await hosts(), []);

  await rm(paths.edge.desired);
  await symlink(secret, paths.edge.desired);
  await machine.apply(home);
  assert.match((await machine.outcome(home)).error?.message ?? '', /ELOOP/);
  await rm(paths.edge.desired);
  await rm(paths.edge.applied);
  await symlink(secret, paths.edge.applied);
  await machine.apply(home);
  assert.equal(await want({ revision: 3, hosts: [] }), null);
  assert.equal(await readFile(secret, 'utf8'), pem, 'applied.json has replaced the link');
});

test('the root program has only the rights of the owner in the home (thorough)', {
  skip: process.getuid?.() === 0 ? false : 'only root can change its user',
}, async (t) => {
  const { machine, home, paths, want, good } = await newHome(t);
  const nobody = 65_534;
  const certificate = paths.edge.certificate(good.name);
  for (const path of [home, paths.edge.directory, paths.edge.certificates]) await chown(path, nobody, nobody);
  // The user `nobody` cannot read this file of root, which is like a hard link to a secret.
  await chmod(certificate, 0o600);
  assert.match((await want({ revision: 1, hosts: [good] }))?.message ?? '', /EACCES/);
  await chown(certificate, nobody, nobody);
  assert.equal(await want({ revision: 2, hosts: [good] }), null);
  assert.equal((await stat(paths.edge.applied)).uid, nobody);
  const [copy = ''] = await readdir(machine.certificates);
  const copied = await stat(join(machine.certificates, copy));
  assert.deepEqual([copied.uid, copied.mode & 0o777], [0, 0o600]);
  const config = await stat(machine.config);
  assert.deepEqual([config.uid, config.mode & 0o777], [0, 0o644]);
  // A link of the user `nobody` leads to a directory that only root can write: the program must not follow it.
  const closed = join(machine.directory, 'closed');
  await mkdir(closed, { mode: 0o700 });
  await writeFile(join(closed, 'wanted.json'), '{"revision":9,"hosts":[]}', { mode: 0o644 });
  await rm(paths.edge.directory, { recursive: true });
  await symlink(closed, paths.edge.directory);
  const { code } = await machine.apply(home);
  assert.equal(code, 1);
  assert.deepEqual(await readdir(closed), ['wanted.json']);
});

test('nginx starts without the home of Sluice (thorough)', async (t) => {
  const { machine, home, want, good } = await newHome(t);
  assert.equal(await want({ revision: 1, hosts: [good] }), null);
  await machine.stop();
  await rm(home, { recursive: true });
  await machine.nginx();
  assert.equal((await askHost(machine.https, good.name)).status, 503);
  assert.equal((await fetchText(machine.http)).body, 'the other site');
});

test('a configuration that nginx refuses is reported in its words, and taken back (thorough)', async (t) => {
  const { machine, want, good } = await newHome(t);
  await writeFile(join(machine.directory, 'conf.d/other.conf'), 'server { listen 99999; }');
  const error = await want({ revision: 1, hosts: [good] });
  assert.match(
    error?.message ?? '',
    /^nginx refuses its configuration: invalid port in "99999" .*other\.conf:1/,
  );
  assert.match(error?.hint ?? '', /another file than that of Sluice/);
  await assert.rejects(readFile(machine.config), { code: 'ENOENT' });
  await rm(join(machine.directory, 'conf.d/other.conf'));
  assert.equal(await want({ revision: 2, hosts: [good] }), null);
  const [before, files] = [await readFile(machine.config, 'utf8'), await readdir(machine.certificates)];
  await writeFile(join(machine.directory, 'conf.d/other.conf'), 'nonsense;');
  assert.match((await want({ revision: 3, hosts: [{ ...good, port: 9002 }] }))?.message ?? '', /nonsense/);
  assert.equal(await readFile(machine.config, 'utf8'), before);
  assert.deepEqual(await readdir(machine.certificates), files);
  assert.equal((await askHost(machine.https, good.name)).status, 503);
});

test('a name that is too long for nginx is reported with the setting to change (thorough)', async (t) => {
  const { paths, want, good } = await newHome(t);
  const name = `${'long-'.repeat(12)}x.${'long-'.repeat(12)}x.example.com`;
  const { fingerprint } = await new Certificates(paths.edge).selfSign(name);
  const error = await want({ revision: 1, hosts: [{ ...good, name, certificate: fingerprint }] });
  assert.match(error?.message ?? '', /could not build server_names_hash/);
  assert.match(error?.hint ?? '', /put `server_names_hash_bucket_size 128;` into the `http` block/);
});

test('a port of another program is reported with its name and pid (thorough)', async (t) => {
  const { machine, home, paths, good } = await newHome(t);
  const { createServer } = await import('node:net');
  const other = createServer().listen(machine.https);
  t.after(() => other.close());
  await writeFile(paths.edge.desired, JSON.stringify({ revision: 1, hosts: [good] }));
  await machine.nginx();
  await machine.apply(home, soon);
  const { error } = await machine.outcome(home);
  assert.equal(
    error?.message,
    `port ${machine.https}, which nginx needs, is in use by ${(await readFile('/proc/self/comm', 'utf8')).trim()} (process ${process.pid})`,
  );
  assert.equal((await fetchText(machine.http)).body, 'the other site');

  // nginx does not even start.
  await machine.stop();
  await machine.apply(home);
  assert.match((await machine.outcome(home)).error?.message ?? '', /is in use by .+ \(process \d+\)$/);
});

test('a missing nginx is reported with the command that installs it', async (t) => {
  const { machine, home, paths, good } = await newHome(t);
  await writeFile(paths.edge.desired, JSON.stringify({ revision: 1, hosts: [good] }));
  await machine.apply(home, [], join(machine.directory, 'empty'));
  assert.deepEqual((await machine.outcome(home)).error, {
    message: 'nginx is not installed',
    hint: 'On the server: `apt-get install nginx`, then add the domain again.',
  });
  await assert.rejects(readFile(machine.config), { code: 'ENOENT' });
});

test('after an apply, no request gets the previous configuration (thorough)', async (t) => {
  const { machine, want, good } = await newHome(t);
  const statuses = async () => {
    const headers = { host: good.name };
    const answers = Array.from({ length: 20 }, () => fetchText(machine.http, '/', { headers }));
    return [...new Set((await Promise.all(answers)).map(({ status }) => status))];
  };
  for (let revision = 1; revision <= 10; revision += 2) {
    assert.equal(await want({ revision, hosts: [good] }), null);
    assert.deepEqual(await statuses(), [301]);
    assert.equal(await want({ revision: revision + 1, hosts: [] }), null);
    assert.deepEqual(await statuses(), [200], 'the other site');
  }
});

test('a change is applied although nginx restarts in between (thorough)', async (t) => {
  const { machine, home, paths, want, good } = await newHome(t);
  assert.equal(await want({ revision: 1, hosts: [good] }), null);
  const before = await machine.workers();
  // They do not receive the signal to end.
  for (const pid of before) process.kill(pid, 'SIGSTOP');
  await writeFile(paths.edge.desired, JSON.stringify({ revision: 2, hosts: [{ ...good, port: 9002 }] }));
  const applied = machine.apply(home);
  await waitFor(async () => (await machine.workers()).some((pid) => !before.includes(pid)));
  await machine.stop();
  await machine.nginx();
  assert.equal((await applied).stderr, '', 'no earlier worker is waited for');
  assert.equal((await machine.outcome(home)).error, null);
  assert.equal((await askHost(machine.https, good.name)).status, 503);
});

test('old workers that do not end are reported, and the new configuration stays (thorough)', async (t) => {
  const { machine, home, paths, want, hosts, good } = await newHome(t);
  assert.equal(await want({ revision: 1, hosts: [good] }), null);
  for (const pid of await machine.workers()) process.kill(pid, 'SIGSTOP');
  const other = { ...good, port: 9002 };
  await writeFile(paths.edge.desired, JSON.stringify({ revision: 2, hosts: [other] }));
  assert.match((await machine.apply(home, soon)).stderr, /a worker of nginx still accepts connections/);
  assert.equal((await machine.outcome(home)).error, null);
  assert.match(await readFile(machine.config, 'utf8'), /:9002;/);
  // Without a host, no request can prove the change.
  for (const pid of await machine.workers()) process.kill(pid, 'SIGSTOP');
  const error = await want({ revision: 3, hosts: [] }, soon);
  assert.equal(error?.message, 'nginx still uses the previous configuration');
  assert.deepEqual(await hosts(), ['shop.example.com']);
});

test('a configuration that nginx has already is not written again (thorough)', async (t) => {
  const { machine, want, good } = await newHome(t);
  assert.equal(await want({ revision: 1, hosts: [good] }), null);
  const before = await stat(machine.config);
  assert.equal(await want({ revision: 2, hosts: [good] }), null);
  assert.deepEqual((await stat(machine.config)).mtimeMs, before.mtimeMs);
  await machine.stop();
  assert.equal(await want({ revision: 3, hosts: [good] }), null);
  assert.equal((await askHost(machine.https, good.name)).status, 503, 'nginx is started');
});

test('without sluice-edge.service, a domain is refused with the units to check (thorough)', async (t) => {
  const { machine, home, paths } = await newHome(t);
  const settings = parseSettings(serverSettingsSchema, {}, 'config.json');
  const log = createLog(process.stderr.fd, 'server', 'error');
  const newEdge = async (applyDeadline: number) => {
    const edge = new Edge({ paths, settings, log, applyDeadline });
    t.after(() => edge.stop());
    await edge.load();
    return edge;
  };
  const edge = await newEdge(1000);
  const wish = { name: 'deploy.example.com', environment: null, certificate: 'self-signed' } as const;
  await assert.rejects(edge.add(wish), {
    code: 'edge_unavailable',
    message: 'nothing on this machine has configured nginx within 1 s',
    hint: /sluice-edge\.path/,
  });
  assert.deepEqual(edge.list(), []);
  await machine.serve(home);
  assert.equal((await (await newEdge(20_000)).add(wish)).certificate.state, 'valid');
  const [host] = JSON.parse(await readFile(paths.edge.desired, 'utf8')).hosts;
  assert.equal(host.name, 'deploy.example.com');
});
