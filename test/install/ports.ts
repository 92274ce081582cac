import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { waitFor } from '../support/wait.ts';
import { Appliance } from './support/appliance.ts';
import { suites } from './support/cache.ts';
import { GuestLoad } from './support/guest-load.ts';
import { install, installedGuest } from './support/installed.ts';

const fixture = (path: string) => readFile(resolve(import.meta.dirname, '..', path), 'utf8');
/** Timeout in ms, for a busy machine. */
const patience = { timeout: 400_000 };
const log = '/var/lib/sluice/apps/evil/production/tmp';

for (const suite of suites) {
  test(`${suite}: an app that tries all ports gets none over an upgrade, 100 restarts and 20 stops, nor any token or cookie`, async (t) => {
    const guest = await installedGuest(t, suite, { memory: 1024 ** 3 });
    const appliance = new Appliance(guest);
    const settings = { workers: 1, settleTime: 100 };
    const plain = { 'server.js': await fixture('fixtures/apps/plain.cjs'), 'sluice.json': settings };
    await appliance.deploy('shop', plain);
    await appliance.deploy('blog', plain);
    await appliance.deploy('broken', {
      'server.js': `require('http').createServer((_, response) => response.end('up'))
        .listen(process.env.PORT, () => setTimeout(() => process.exit(1), 3000))`,
      'sluice.json': { workers: 1, maxRestarts: 1, minUptime: 60_000, restartDelay: 10 },
    });
    // As a version without the socket unit leaves it: the server opens the port itself.
    await guest.exec(`
      systemctl disable --now sluice.socket 2>&1
      rm /etc/systemd/system/sluice.socket
      systemctl daemon-reload
      systemctl restart sluice`);
    await appliance.deploy('evil', {
      'server.js': await fixture('support/squatter.cjs'),
      'sluice.json': { workers: 1 },
    });
    const apps = ['shop', 'blog', 'broken'];
    const ports = await Promise.all(apps.map(async (app) => (await appliance.status(app)).port));
    const shop = Number(ports[0]);
    const squat = (lines: unknown[]) =>
      guest.exec(`printf '${lines.join('\\n')}\\n' >${log}/ports && chmod 644 ${log}/ports`);
    // What the app had on other addresses before, it would keep.
    await squat(['8700 127.0.0.1', ...ports]);
    const rounds = async () => Number((await guest.try(`cat ${log}/rounds.log`)).stdout);
    const moreRounds = async () => {
      // The second round begins after this call. A restart of the app resets the count.
      for (let round = 0; round < 2; round += 1) {
        const before = await rounds();
        await waitFor(async () => (await rounds()) !== before, { interval: 100, what: 'more tries' });
      }
    };
    await waitFor(async () => (await rounds()) > 2, { interval: 100, what: 'the attack' });
    await waitFor(async () => (await appliance.status('broken')).state === 'crashed', {
      interval: 500,
      what: 'a crashed app',
    });

    const said = await guest.exec(install, { timeout: 120_000 });
    assert.match(said, /sluice\.socket: 127\.0\.0\.1:8700/);
    assert.equal(await guest.exec('systemctl is-active sluice.socket'), 'active\n');
    assert.equal(await guest.exec('cat /proc/sys/net/ipv4/ip_unprivileged_port_start'), '1024\n');
    await squat([8700, ...ports]);
    const load = await GuestLoad.start(guest, Number(ports[1]), 2);
    const token = (await appliance.sluice('token create ann')).trim();
    await guest.write('root/ask.sh', asking(token, shop));
    await guest.exec('systemd-run --quiet --unit=asking sh /root/ask.sh');
    const start = performance.now();
    await Promise.all([
      guest.exec(
        repeat('sluice', 70, ['systemctl --no-block restart', 'systemctl kill -s KILL'], ''),
        patience,
      ),
      guest.exec(
        // systemd would not reload a unit that is just being started.
        repeat(
          'sluice-runner',
          30,
          ['systemctl kill --kill-who=main -s KILL', 'systemctl reload'],
          '&& systemctl -q is-active sluice-runner',
        ),
        patience,
      ),
    ]);
    t.diagnostic(`${suite}: 100 restarts in ${Math.round(performance.now() - start)} ms`);
    await waitFor(async () => (await appliance.try('status shop')).code === 0, {
      what: 'the server with its runner',
    });
    await guest.exec('for _ in $(seq 20); do sluice stop shop; sluice start shop; done', {
      timeout: 120_000,
    });
    await appliance.sluice('stop shop');
    await moreRounds();
    await appliance.sluice('start shop');

    await guest.exec('systemctl stop asking');
    const report = await load.stop();
    const asked = await guest.read('root/asked.log');
    t.diagnostic(`${suite}: ${await rounds()} rounds of tries, ${report.answered} requests to a neighbour`);
    assert.deepEqual(report.errors, []);
    assert.equal((await guest.try(`cat ${log}/squatter.log`)).stdout, '');
    assert.doesNotMatch(asked, /taken/);
    assert.match(asked, /^api 200$/m);
    const { checks } = JSON.parse((await appliance.try('doctor --json')).stdout);
    assert.equal(checks.find(({ name }: { name: string }) => name === 'ports')?.state, 'ok');

    // The attack finds a port that is free.
    await appliance.sluice('destroy blog --confirm blog');
    await waitFor(async () => (await guest.try(`grep ' ${ports[1]}$' ${log}/squatter.log`)).code === 0, {
      interval: 100,
      what: 'the port of an app that is gone',
    });
    assert.doesNotMatch(await guest.read(`${log}/squatter.log`.slice(1)), /Bearer|session|8700/);

    // The server's user can write the settings, and root reads the address in them.
    for (const [name, value] of hostile) {
      await guest.write('var/lib/sluice/config.json', JSON.stringify({ listen: { [name]: value } }));
      const { code, stderr } = await guest.try(install, { timeout: 120_000 });
      assert.notEqual(code, 0);
      assert.match(
        stderr,
        /"listen" in \/var\/lib\/sluice\/config\.json is not a numeric address and a port/,
      );
    }
    assert.equal((await guest.try('ls /root/pwned')).stdout, '');
  });
}

/** Settings of an address that would run a command of root if they reached sed, or a unit. */
const hostile: [string, string][] = [
  ['port', '8700/;1e id>/root/pwned #'],
  ['port', '8700/;1e\tid>/root/pwned\t#'],
  ['port', '8700\\n[Socket]\\nExecStartPre=/bin/touch /root/pwned'],
  ['host', '127.0.0.1\\nExecStartPre=/bin/touch /root/pwned'],
  ['host', '&/;1e id>/root/pwned;#'],
];

/**
 * Restarts a unit in two ways by turns, each time once it has another process. A reload may end a runner that has just been
 * started: that is a restart, too.
 * @param isUp shell: what it waits for besides
 */
function repeat(unit: string, count: number, [one, other]: [string, string], isUp: string): string {
  return `
    for turn in $(seq ${count}); do
      before=$(systemctl show -P MainPID ${unit})
      if [ $((turn % 2)) = 0 ]; then ${one} ${unit}; else ${other} ${unit}; fi || :
      tries=0
      until now=$(systemctl show -P MainPID ${unit}); [ "$now" != 0 ] && [ "$now" != "$before" ] ${isUp}; do
        tries=$((tries + 1)); [ $tries -lt 1200 ]; sleep 0.05
      done
    done`;
}

/** Sends tokens and cookies as visitors and developers do. */
function asking(token: string, shop: number): string {
  return `while :; do
    for host in 127.0.0.1 localhost; do
      curl -s --max-time 60 -o /dev/null -w 'api %{http_code}\\n' -H 'Authorization: Bearer ${token}' http://$host:8700/v1/apps/shop >>/root/asked.log
      curl -s --max-time 60 -w '\\n' -H 'Cookie: session=secret' http://$host:${shop}/ >>/root/asked.log
    done
  done`;
}
