import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { writeTree } from '../support/builds.ts';
import { waitFor } from '../support/wait.ts';
import { Appliance } from './support/appliance.ts';
import { expressApp } from './support/apps.ts';
import { suites } from './support/cache.ts';
import type { Guest } from './support/guest.ts';
import { install, installedGuest } from './support/installed.ts';
import { Laptop } from './support/laptop.ts';

const sockets = 'sluice.socket sluice-local.socket sluice-push.socket';
const environment = '/var/lib/sluice/environment';
/** Timeout in ms, for a busy machine. */
const patience = { timeout: 400_000 };

for (const suite of suites) {
  test(`${suite}: a server without work rests, and starts for a command, a request, a push or a new runner`, async (t) => {
    const guest = await installedGuest(t, suite);
    const appliance = new Appliance(guest);
    const laptop = await Laptop.create(t);
    await guest.write('root/laptop.pub', await laptop.publicKey());
    await appliance.sluice('keys add laptop /root/laptop.pub');
    const token = (await appliance.sluice('token create ann')).trim();
    await writeTree(join(laptop.home, 'shop'), expressApp('first'));
    await laptop.exec(`
      cd shop && git init -q -b main && git add . && git commit -q -m First
      git remote add deploy ssh://sluice-git@${guest.address}/shop
      git push deploy main`);
    const { port } = await appliance.status('shop');
    await restAfter(guest, 3);
    const rests = () => untilAtRest(guest);

    await rests();
    assert.equal(await appliance.ask(port), 'first', 'the app serves');
    assert.equal(await guest.exec(`systemctl is-active ${sockets}`), 'active\nactive\nactive\n');
    await appliance.sluice('status shop');
    await rests();
    await guest.exec('runuser -u sluice -- sluice status');
    await rests();
    const refused = await guest.try('runuser -u nobody -- env SLUICE_HOME=/var/lib/sluice sluice status');
    assert.match(refused.stderr, /belongs to another user/);
    const call = `curl -sSf --max-time 60 -H 'Authorization: Bearer ${token}'`;
    for (const address of ['http://127.0.0.1:8700', '--unix-socket /run/sluice/api.sock http://localhost']) {
      await rests();
      assert.match(await guest.exec(`${call} ${address}/v1/apps/shop`), /"state":"running"/);
    }
    await rests();
    await writeTree(join(laptop.home, 'shop'), expressApp('second'));
    await laptop.exec('cd shop && git commit -qam Second && git push deploy main');
    assert.equal(await appliance.ask(port), 'second');
    await rests();
    assert.match(await appliance.sluice('rollback shop'), /live/);
    assert.equal(await appliance.ask(port), 'first');
    await rests();
    await appliance.sluice('backup /root/state.tar');

    // Nothing of the app is left: only the server starts it again.
    await rests();
    await guest.exec('systemctl kill --kill-who=all -s KILL sluice-runner');
    await appliance.answers(port);

    await rests();
    const { checks } = JSON.parse((await appliance.try('doctor --json')).stdout);
    for (const name of ['units', 'server', 'runner', 'home'])
      assert.equal(checks.find((check: { name: string }) => check.name === name)?.state, 'ok', name);
    assert.equal(await guest.exec('systemctl show -P NRestarts sluice'), '0\n');
    await rests();
    assert.match(await guest.exec(install, { timeout: 120_000 }), /is up to date/);

    await rests();
    await guest.exec('systemctl stop sluice.socket sluice');
    assert.equal(
      (await guest.try(`systemctl is-active ${sockets}`)).stdout,
      'inactive\ninactive\ninactive\n',
    );
    const stopped = await appliance.try('status');
    assert.match(stopped.stderr, /Sluice is not running/);
    assert.match(stopped.stderr, /systemctl start sluice/);
    await guest.exec('systemctl reload sluice-runner');
    await guest.exec('systemctl start sluice.socket');
    await appliance.sluice('status shop');
    await guest.exec('systemctl restart sluice.socket');
    await appliance.sluice('status shop');

    await rests();
    await guest.exec('cp -p /var/lib/sluice/config.json /root/ && echo { >/var/lib/sluice/config.json');
    const broken = await appliance.try('status');
    assert.match(broken.stderr, /Sluice is not running/, 'a server that cannot start keeps nobody waiting');
    await guest.exec('cp -p /root/config.json /var/lib/sluice/');
    await appliance.sluice('status shop');
  });

  test(`${suite}: no request is lost around the moments at which the server rests`, async (t) => {
    const guest = await installedGuest(t, suite);
    const appliance = new Appliance(guest);
    const token = (await appliance.sluice('token create ann')).trim();
    await restAfter(guest, 0.5);
    await untilAtRest(guest);
    const starts = async () =>
      Number(await guest.exec(`journalctl -u sluice --output=cat | grep -c '"msg":"nothing to do"'`));
    const before = await starts();
    await guest.exec(
      `
      for turn in $(seq 100); do
        case $((turn % 3)) in
          0) set -- http://127.0.0.1:8700 ;;
          1) set -- --unix-socket /run/sluice/api.sock http://localhost ;;
          2) set -- --unix-socket /var/lib/sluice/run/server.sock http://localhost ;;
        esac
        base=$1; [ $# = 1 ] || { base=$3; set -- "$1" "$2"; }
        [ $# = 2 ] || set --
        curl -sSf --max-time 60 -o /dev/null -H 'Authorization: Bearer ${token}' "$@" "$base/v1/status"
        sleep 0.$((40 + turn % 30))
      done`,
      patience,
    );
    const rests = (await starts()) - before;
    t.diagnostic(`${suite}: ${rests} rests during 100 requests`);
    assert.ok(rests > 20, 'the server rested again and again');
    const { checks } = JSON.parse((await appliance.try('doctor --json')).stdout);
    const restarts = checks.find(({ name }: { name: string }) => name === 'restarts');
    assert.equal(restarts?.state, 'ok', 'a rest is no death');
  });
}

/** Sets the time without work after which the server rests, in seconds. */
async function restAfter(guest: Guest, seconds: number): Promise<void> {
  await guest.exec(`echo SLUICE_REST_SECONDS=${seconds} >>${environment} && systemctl restart sluice`);
}

async function untilAtRest(guest: Guest): Promise<void> {
  const state = async () => (await guest.try('systemctl is-active sluice')).stdout.trim();
  await waitFor(async () => (await state()) === 'inactive', {
    timeout: 60_000,
    interval: 100,
    what: 'a server at rest',
  });
}
