import assert from 'node:assert/strict';
import { chmod, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { changesFor, Nginx } from '../../src/import/nginx.ts';
import { freePort } from '../support/free-port.ts';
import { fetchText } from '../support/http.ts';
import { machineWithNginx } from '../support/nginx.ts';

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
