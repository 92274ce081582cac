import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { writeTree } from '../support/builds.ts';
import type { Files } from '../support/pack.ts';
import { waitFor } from '../support/wait.ts';
import { Appliance } from './support/appliance.ts';
import { suites } from './support/cache.ts';
import type { Guest } from './support/guest.ts';
import { installedGuest } from './support/installed.ts';
import { Laptop } from './support/laptop.ts';
import { installPackage } from './support/packages.ts';

const domain = 'shop.example.com';
const certificate = `var/lib/sluice/edge/certificates/${domain}.pem`;

for (const suite of suites) {
  test(`${suite}: what was backed up on one machine goes on on another, where users have other numbers`, async (t) => {
    const [from, to] = [await installedGuest(t, suite), await installedGuest(t, suite)];
    const [old, fresh] = [new Appliance(from), new Appliance(to)];
    const laptop = await Laptop.create(t);
    await Promise.all([fill(old, laptop), installPackage(from, 'nginx')]);
    const ports = await portsOf(old);
    await old.sluice(`domains add shop ${domain} --self-signed`);
    const token = (await old.sluice('token create ci')).trim();

    const told = await old.sluice('backup /root/backup.tar.gz');
    assert.match(told, /^shop: release 2, by its commit$/m);
    assert.match(told, /^blog: release 1, with its files$/m);
    assert.match(await old.sluice('backup --releases /root/whole.tar.gz'), /^shop: release 2, and 1 more$/m);
    for (const name of ['backup', 'whole'])
      await to.copy(join(from.root, `root/${name}.tar.gz`), `root/${name}.tar.gz`);

    await to.exec('useradd --system --user-group somebody');
    const restored = await fresh.sluice('restore /root/backup.tar.gz');
    assert.match(restored, /^shop: restored; release 2 is built from its commit when Sluice starts$/m);
    assert.match(restored, /^blog: restored with release 1$/m);
    assert.match(restored, /^Sluice runs again/m);
    await waitFor(async () => (await fresh.status('shop')).state === 'running', {
      timeout: 60_000,
      interval: 200,
      what: 'shop, built from its commit',
    });
    assert.deepEqual(await portsOf(fresh), ports);
    assert.equal(await fresh.ask(ports.shop), 'second swordfish two lamps\n');
    assert.equal(await fresh.ask(ports.blog), 'uploaded undefined a letter\n');
    const numbers = 'id -u sluice_shop; id -u sluice_blog';
    assert.notEqual(await to.exec(numbers), await from.exec(numbers));
    await to.exec(`curl -sSf -H 'Authorization: Bearer ${token}' http://127.0.0.1:8700/v1/apps`);

    // What is wrong is that nginx is missing, and it goes as the hint says.
    const missing = await waitFor(
      async () => (await examined(fresh)).find(({ name, state }) => name === 'domains' && state === 'fault'),
      { timeout: 60_000, interval: 200, what: 'that doctor tells of nginx' },
    );
    assert.match(`${missing.message}\n${missing.hint}`, /nginx is not installed\n.*apt-get install nginx/);
    await installPackage(to, 'nginx');
    await fresh.sluice(`domains add shop ${domain} --self-signed`);
    const found = await examined(fresh);
    assert.ok(!found.some(({ state }) => state === 'fault'), JSON.stringify(found));
    assert.deepEqual(states(found), states(await examined(old)));
    assert.equal(await to.read(certificate), await from.read(certificate));
    assert.equal(
      await laptop.exec(`curl -sSk --resolve ${domain}:443:${to.address} https://${domain}/`),
      'second swordfish two lamps\n',
    );

    await push(laptop, to, 'third');
    assert.equal(await fresh.ask(ports.shop, '--data', 'a chair'), 'third swordfish two lamps\na chair\n');
    await fresh.deploy('blog', keeper('uploaded again'));
    assert.equal(await fresh.ask(ports.blog), 'uploaded again undefined a letter\n');

    assert.match(
      await fresh.sluice('restore --force /root/whole.tar.gz'),
      /^shop: restored with release 2$/m,
      'nothing is to be built',
    );
    assert.equal(await fresh.ask(ports.shop), 'second swordfish two lamps\n', 'as it was in the backup');
    assert.deepEqual(await owners(to), await owners(from));
    await fresh.sluice('rollback shop');
    assert.equal(await fresh.ask(ports.shop), 'first swordfish two lamps\n');
    await push(laptop, to, 'third, once more');
    assert.equal(await fresh.ask(ports.shop), 'third, once more swordfish two lamps\n');
  });
}

/** One app that was pushed, with a variable, and one that was uploaded; both with data. */
async function fill(appliance: Appliance, laptop: Laptop): Promise<void> {
  const { guest } = appliance;
  await guest.write('root/laptop.pub', await laptop.publicKey());
  await appliance.sluice('keys add laptop /root/laptop.pub');
  await push(laptop, guest, 'first');
  await push(laptop, guest, 'second');
  await appliance.sluice('env set shop WORD=swordfish');
  await appliance.deploy('blog', keeper('uploaded'));
  const { shop, blog } = await portsOf(appliance);
  await appliance.ask(shop, '--data', 'two lamps');
  await appliance.ask(blog, '--data', 'a letter');
}

/** An app that writes down what it is sent, for nobody else to read, and says all of it. */
function keeper(text: string): Files {
  return {
    'server.js': `
      const { appendFileSync, existsSync, readFileSync } = require('node:fs');
      require('node:http')
        .createServer(async (request, response) => {
          const sent = (await request.toArray()).join('');
          if (sent !== '') appendFileSync('data/orders', sent + '\\n', { mode: 0o600 });
          const orders = existsSync('data/orders') ? readFileSync('data/orders', 'utf8') : '';
          response.end([${JSON.stringify(text)}, process.env.WORD ?? 'undefined', orders].join(' '));
        })
        .listen(process.env.PORT);
    `,
    'sluice.json': { workers: 1, settleTime: 200, shared: ['data'] },
  };
}

async function push(laptop: Laptop, guest: Guest, text: string): Promise<void> {
  await writeTree(join(laptop.home, 'shop'), keeper(text));
  const pushed = await laptop.exec(`
    cd shop && git init -q -b main && git add . && git commit -qm '${text}'
    git push ssh://sluice-git@${guest.address}/shop main`);
  assert.match(pushed, /remote: live: /);
}

async function portsOf(appliance: Appliance): Promise<{ shop: number; blog: number }> {
  const [shop, blog] = [await appliance.status('shop'), await appliance.status('blog')];
  return { shop: shop.port, blog: blog.port };
}

interface Check {
  name: string;
  state: string;
  message: string;
  hint: string;
}

/** Returns the results of doctor, with or without a fault. */
async function examined(appliance: Appliance): Promise<Check[]> {
  return JSON.parse((await appliance.try('doctor --json')).stdout).checks;
}

function states(checks: Check[]): Record<string, string> {
  return Object.fromEntries(checks.map(({ name, state }) => [name, state]));
}

/**
 * Whose all that was restored is, by name, and with which rights. What git keeps and logs are not compared one by one. Compiled code is
 * not part of a backup, and the link to it may belong to the server or the app: workers follow it only to its own place.
 */
async function owners(guest: Guest): Promise<string[]> {
  const listed = await guest.exec(`
    cd /var/lib/sluice
    find apps edge tokens.json keys.json domains.json events.jsonl -path '*/repo.git/*' -prune -o -path '*/logs/*' -prune -o -path '*/tmp/compiled' -prune -o -name .sluice-compiled -prune -o -printf '%p %u:%g %m %l\\n'`);
  return listed.split('\n').sort();
}
