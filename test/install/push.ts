import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { writeTree } from '../support/builds.ts';
import { Appliance } from './support/appliance.ts';
import { expressApp } from './support/apps.ts';
import { suites } from './support/cache.ts';
import { installedGuest } from './support/installed.ts';
import { Laptop } from './support/laptop.ts';

for (const suite of suites) {
  test(`${suite}: a push over ssh from a laptop puts an Express app live, and the key opens nothing else`, async (t) => {
    const guest = await installedGuest(t, suite);
    const appliance = new Appliance(guest);
    const laptop = await Laptop.create(t);
    await guest.write('root/laptop.pub', await laptop.publicKey());
    await appliance.sluice('keys add laptop /root/laptop.pub');

    await writeTree(join(laptop.home, 'shop'), expressApp('first'));
    const pushed = await laptop.exec(`
      cd shop && git init -q -b main && git add . && git commit -q -m First
      git remote add deploy ssh://sluice-git@${guest.address}/shop
      git push deploy main
    `);
    assert.match(pushed, /remote: live: \S+ release 1/);
    const { port } = await appliance.status('shop');
    assert.equal(await appliance.ask(port), 'first');

    await writeTree(join(laptop.home, 'shop'), expressApp('second'));
    await laptop.exec('cd shop && git commit -qam Second && git push deploy main');
    assert.equal(await appliance.ask(port), 'second');
    await laptop.exec(
      `git clone -q ssh://sluice-git@${guest.address}/shop copy && grep second copy/server.js`,
    );

    const ssh = '$GIT_SSH_COMMAND';
    const shell = await laptop.try(`${ssh} sluice-git@${guest.address} id`);
    assert.notEqual(shell.code, 0);
    assert.doesNotMatch(shell.stdout, /uid=/);
    assert.notEqual((await laptop.try(`${ssh} root@${guest.address} true`)).code, 0);
    assert.notEqual((await laptop.try(`${ssh} sluice@${guest.address} true`)).code, 0);
    const tunnel = `${ssh} -o ExitOnForwardFailure=yes -W 127.0.0.1:8700 sluice-git@${guest.address}`;
    assert.notEqual((await laptop.try(tunnel)).code, 0, 'no forwarding');

    const stranger = await Laptop.create(t);
    const refused = await stranger.try(`git clone ssh://sluice-git@${guest.address}/shop`);
    assert.match(refused.stderr, /Permission denied/);
    assert.deepEqual(
      await openPorts(laptop, guest.address),
      [22],
      'nothing but ssh is reachable from outside',
    );
  });
}

/** Which of the ports that anything here uses let the laptop in. */
async function openPorts(laptop: Laptop, address: string): Promise<number[]> {
  const open: number[] = [];
  for (const port of [22, 80, 443, 8700, 9001, 9002]) {
    const { code } = await laptop.try(`timeout 5 bash -c '</dev/tcp/${address}/${port}'`);
    if (code === 0) open.push(port);
  }
  return open;
}
