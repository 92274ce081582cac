import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { chmod, mkdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { areRestored, changesFor, changesText, Nginx } from '../../src/import/nginx.ts';
import { findMaster } from '../../src/import/nginx-master.ts';
import { listPids, parentOf, titleOf } from '../../src/system/process/processes.ts';
import { freePort } from '../support/free-port.ts';
import { fetchText } from '../support/http.ts';
import { machineWithNginx, type NginxMachine } from '../support/nginx.ts';
import { waitFor } from '../support/wait.ts';

test('nginx sends the requests of a site to another port, and keeps its files if it refuses a change', async (t) => {
  const machine = await machineWithNginx(t);
  const [one, two] = [await freePort(), await freePort()];
  for (const port of [one, two]) {
    const server = createServer((_request, response) => response.end(String(port))).listen(port);
    t.after(() => server.close());
  }
  // As in sites-enabled, nginx reads a link.
  const site = join(machine.directory, 'shop');
  const text = `server { listen ${machine.http}; server_name shop.example.com; location / { proxy_pass http://localhost:${one}; } }\n`;
  await writeFile(site, text);
  await chmod(site, 0o640);
  await symlink(site, join(machine.directory, 'conf.d/shop.conf'));
  await machine.nginx();
  const answer = async () =>
    (await fetchText(machine.http, '/', { headers: { host: 'shop.example.com' } })).body;
  assert.equal(await answer(), String(one));

  const nginx = new Nginx(machine.mainConfig);
  const to = { host: '127.0.0.1', port: two };
  const changes = changesFor((await nginx.files()) ?? new Map(), new Set([one]), to);
  assert.deepEqual(
    changes.map(({ path }) => path),
    [site],
  );
  assert.equal(await nginx.apply(changes, 30_000), 0);
  assert.equal(await answer(), String(two));
  assert.equal((await stat(site)).mode & 0o777, 0o640);

  const now = await readFile(site, 'utf8');
  const broken = [{ path: site, before: now, after: `${now}}` }];
  await assert.rejects(nginx.apply(broken, 30_000), { code: 'nginx_failed', message: /unexpected "\}"/ });
  assert.equal(await readFile(site, 'utf8'), now);
  assert.equal(await answer(), String(two));
});

test('a file keeps its bytes in any encoding, and gets them back', async (t) => {
  const machine = await machineWithNginx(t);
  const site = join(machine.directory, 'conf.d/shop.conf');
  // The second byte of \u00e0 in UTF-8 is a space in Latin-1, but not for nginx.
  const text = Buffer.concat([
    Buffer.from(`# Pr\u00fcfung\nserver { listen ${machine.http}; server_name `, 'latin1'),
    Buffer.from('a\u00e0b; location / { proxy_pass http://127.0.0.1:3000; } } # \u00e0\n'),
  ]);
  await writeFile(site, text);
  await machine.nginx();
  const nginx = new Nginx(machine.mainConfig);
  const to = { host: '127.0.0.1', port: 3001 };
  const changes = changesFor((await nginx.files()) ?? new Map(), new Set([3000]), to);
  assert.match(changesText(changes), /server_name a\u00e0b;.* # \u00e0$/m);
  await nginx.apply(changes, 30_000);
  assert.equal(await readFile(site, 'latin1'), text.toString('latin1').replace(':3000', ':3001'));
  assert.equal(await areRestored(changes), false);
  const back = changes.map((change) => ({ path: change.path, before: change.after, after: change.before }));
  await nginx.apply(back, 30_000);
  assert.deepEqual(await readFile(site), text);
  assert.equal(await areRestored(changes), true);
});

test('changes that others make to the same files at the same time are kept', async (t) => {
  const machine = await machineWithNginx(t);
  const [one, two] = ['one', 'two'].map((name) => join(machine.directory, `conf.d/${name}.conf`)) as [
    string,
    string,
  ];
  const text = (name: string) =>
    `server {\n  listen ${machine.http};\n  server_name ${name}.example.com;\n  location / { proxy_pass http://127.0.0.1:3000; }\n}\n`;
  await writeFile(one, text('one'));
  await writeFile(two, text('two'));
  await machine.nginx();
  const path = process.env['PATH'];
  t.after(() => {
    process.env['PATH'] = path;
  });
  const nginx = new Nginx(machine.mainConfig);
  const to = { host: '127.0.0.1', port: 3001 };
  const changes = changesFor((await nginx.files()) ?? new Map(), new Set([3000]), to);

  await writeFile(two, `# of another\n${text('two')}`);
  await assert.rejects(nginx.apply(changes, 30_000), {
    code: 'nginx_failed',
    message: `another program changes ${two}`,
  });
  assert.deepEqual(
    [await readFile(one, 'utf8'), await readFile(two, 'utf8')],
    [text('one'), `# of another\n${text('two')}`],
  );
  assert.equal(await areRestored(changes), true);
  await writeFile(two, text('two'));

  // Another program changes a file before the check fails.
  const programs = join(machine.directory, 'checking');
  await mkdir(programs);
  const failing = async (change: string) => {
    const script = `#!/bin/sh\ncase " $* " in *' -t '*) ${change}; exit 1;; esac\nPATH='${path}' exec nginx "$@"\n`;
    await writeFile(join(programs, 'nginx'), script, { mode: 0o755 });
    process.env['PATH'] = `${programs}:${path}`;
  };
  await failing(`echo '# later' >> '${one}'`);
  await assert.rejects(nginx.apply(changes, 30_000), { code: 'nginx_failed', message: /^nginx -t failed/ });
  assert.deepEqual(
    [await readFile(one, 'utf8'), await readFile(two, 'utf8')],
    [`${text('one')}# later\n`, text('two')],
  );
  await writeFile(one, text('one'));

  // Nobody knows which of two equal lines to take back.
  await failing(`cat '${one}' '${one}' > '${one}.new'; mv '${one}.new' '${one}'`);
  await assert.rejects(nginx.apply(changes, 30_000), {
    code: 'nginx_failed',
    hint: new RegExp(`^Take these lines back yourself:\n${one}\n +- .*:3001; }\n +\\+ .*:3000; }$`),
  });
  assert.equal(await readFile(two, 'utf8'), text('two'));
  assert.equal(await areRestored(changes), false);
});

/** Options of a program that runs as in a container. */
const isolate = ['--user', '--map-root-user', '--pid', '--fork', '--kill-child'];
const isPossible = spawnSync('unshare', [...isolate, 'true']).status === 0;

/** Starts a program until the end of a test. */
function start(t: TestContext, program: string, args: string[], argv0 = program): ChildProcess {
  const child = spawn(program, args, { argv0, stdio: 'ignore' });
  t.after(() => void child.kill('SIGKILL'));
  return child;
}

function masterOf({ mainConfig: main, directory }: NginxMachine): Promise<number | undefined> {
  const dump = `# configuration file ${main}:\npid ${directory}/nginx.pid;\n`;
  return findMaster(dump, { main, isUsual: false });
}

test('of two masters, the one counts that a reload reaches', async (t) => {
  const machine = await machineWithNginx(t);
  const title = `nginx: master process nginx -c ${machine.mainConfig}`;
  const other = start(t, 'sleep', ['1000'], title);
  await waitFor(async () => (await masterOf(machine)) === other.pid, { what: 'the other program' });
  await machine.nginx();
  assert.equal(await masterOf(machine), await machine.pid());
});

test('a master in a container does not count', { skip: !isPossible && 'needs namespaces' }, async (t) => {
  const machine = await machineWithNginx(t);
  const title = `nginx: master process nginx -c ${machine.mainConfig}`;
  const container = start(t, 'unshare', [...isolate, 'bash', '-c', `exec -a '${title}' sleep 1000`]);
  const isThere = async () =>
    (await listPids()).some(
      (pid) => parentOf(pid) === container.pid && (titleOf(pid) ?? '').startsWith(title),
    );
  await waitFor(isThere, { what: 'the container' });
  assert.equal(await masterOf(machine), undefined);
});

test('without nginx, no file is read', async () => {
  assert.equal(await new Nginx('/nonexistent/nginx.conf').files().catch(({ code }) => code), 'nginx_failed');
});

test('a master that names the usual main file counts, as that of the package of nginx.org', async (t) => {
  const machine = await machineWithNginx(t);
  await machine.nginx();
  const path = process.env['PATH'];
  t.after(() => {
    process.env['PATH'] = path;
  });
  // The program there has the main file of the test as its usual one.
  process.env['PATH'] = `${machine.programs}:${path}`;
  const nginx = new Nginx();
  assert.deepEqual([...((await nginx.files())?.keys() ?? [])], [machine.mainConfig]);
  assert.equal(await nginx.apply([], 30_000), 0);
  await machine.stop();
  assert.equal(await nginx.files(), undefined);
});
