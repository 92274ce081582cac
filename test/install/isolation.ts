import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { waitFor } from '../support/wait.ts';
import { Appliance } from './support/appliance.ts';
import { obedientApp } from './support/apps.ts';
import { suites } from './support/cache.ts';
import type { Guest } from './support/guest.ts';
import { GuestLoad } from './support/guest-load.ts';
import { installedGuest } from './support/installed.ts';

const plain = resolve(import.meta.dirname, '../fixtures/apps/plain.cjs');
const secret = 'what-only-the-shop-may-know';
const home = '/var/lib/sluice';

for (const suite of suites) {
  test(`${suite}: an app that turns against all others gets nothing, and they go on answering`, async (t) => {
    const guest = await installedGuest(t, suite, { memory: 1024 ** 3 });
    const appliance = new Appliance(guest);
    await appliance.deploy('shop', {
      'server.js': `console.log(${JSON.stringify(`logged: ${secret}`)});\n${await readFile(plain, 'utf8')}`,
      'secret.txt': secret,
      'sluice.json': { workers: 1, shared: ['data'] },
    });
    await guest.write(`${home}/apps/shop/production/shared/data/customers`, secret);
    await appliance.sluice(`env set shop SECRET=${secret}`);
    await appliance.deploy('evil', obedientApp());
    const evil = new Evil(guest, (await appliance.status('evil')).port);
    const shop = await appliance.status('shop');
    const pids = await guest.exec('systemctl show -P MainPID sluice sluice-runner');
    const others = [...pids.split('\n'), ...shop.workers.map(({ pid }) => pid)].filter(Boolean).join(' ');

    assert.match(
      await evil.does('id'),
      /uid=\d+\(sluice_evil\) gid=\d+\(sluice_evil\) groups=\d+\(sluice_evil\)$/m,
    );
    assert.match(await evil.does('cat /proc/self/status'), /^NoNewPrivs:\t1$/m);

    // What it can read of ours is its own, and what it can write to is there for everybody.
    await guest.exec(`
      find ${home} -type f >/tmp/ours
      find / -xdev \\( -path /proc -o -path /dev -o -path /sys \\) -prune -o \\( -type f -o -type d \\) -print >/tmp/all
    `);
    const readable = await evil.lines(
      'while read -r path; do [ ! -r "$path" ] || echo "$path"; done </tmp/ours',
    );
    assert.deepEqual(
      readable.filter((path) => !path.startsWith(`${home}/apps/evil/`)),
      [],
    );
    assert.ok(readable.some((path) => path.endsWith('/server.js')));
    const writable = await evil.lines(
      'while read -r path; do [ ! -w "$path" ] || echo "$path"; done </tmp/all',
    );
    const shared = /^\/(?:tmp|var\/tmp|run\/lock|run\/screen|tmp\/\.[A-Za-z0-9]+-unix)$/;
    assert.deepEqual(
      writable.filter((path) => !path.startsWith(`${home}/apps/evil/production/`) && !shared.test(path)),
      [],
    );
    for (const path of [
      'env.json',
      'current/secret.txt',
      'shared/data/customers',
      'logs/app.log',
      'current/server.js',
    ])
      assert.match(await evil.does(`cat ${home}/apps/shop/production/${path}`), /Permission denied/, path);
    const spying = [
      `grep -rs '${secret.slice(0, -1)}[w]' ${home} /tmp /var/tmp /run /var/log /etc /opt/sluice`,
      'cat /proc/[0-9]*/environ | tr "\\0" "\\n" | grep ^SECRET=',
      'journalctl --no-pager | grep -e logged -e sluice',
      `cat ${home}/tokens.json ${home}/config.json ${home}/keys.json ${home}/events.jsonl`,
      'cat /etc/shadow /root/.ssh/* /opt/sluice/install.log',
      `for pid in ${others}; do cat /proc/$pid/fd/1 /proc/$pid/cwd/secret.txt /proc/$pid/mem; done`,
      'sudo -n id || su -c id </dev/null',
    ];
    for (const script of spying)
      assert.match((await evil.does(`(${script}) 2>/dev/null`)).trim(), /^ended with [1-9]\d*$/, script);

    const connecting = (socket: string) =>
      evil.node(
        `require('net').connect('${socket}', () => console.log('IN')).on('error', (e) => console.log(e.code)).setTimeout(1000, () => process.exit())`,
      );
    for (const socket of ['run/runner.sock', 'run/server.sock', 'ssh/push.sock'])
      assert.match(await connecting(`${home}/${socket}`), /^(?:EACCES|ENOENT)$/m, socket);
    assert.match(await evil.does('curl -s http://127.0.0.1:8700/v1/apps'), /unauthorized/);
    assert.match(await evil.does(`sluice status shop`), /another user|forbidden|EACCES|ended with 1/);

    // Its processes are in the cgroup of the runner's unit, and may speak to systemd.
    const runner = 'systemctl show -P MainPID -P ActiveState -P SubState -P StatusText sluice-runner';
    const before = await guest.exec(runner);
    await evil.does(
      'for word in MAINPID=$PPID STOPPING=1 STATUS=evil; do NOTIFY_SOCKET=/run/systemd/notify systemd-notify "$word"; done',
    );
    assert.equal(await guest.exec(runner), before);

    // The unit takes away from all its processes only what no app needs.
    const namespaces = 'unshare --user --pid --net --fork true';
    const outside = await guest.try(
      `setpriv --reuid sluice_evil --clear-groups --no-new-privs ${namespaces}`,
    );
    const inside = await evil.does(namespaces);
    assert.match(inside, new RegExp(`ended with ${outside.code}$`), `Chromium's sandbox; ${outside.stderr}`);
    assert.match(await evil.node(`console.log(Object.keys(require('os').networkInterfaces()))`), /'lo'/);
    assert.match(
      await evil.node(`console.log(new WebAssembly.Module(Buffer.from('0061736d01000000', 'hex')))`),
      /Module \[WebAssembly/,
    );
    assert.match(
      await evil.does(`perl -e 'socket(S, 38, 5, 0) or die "$!"'`),
      /not supported/,
      'the kernel would load a module for AF_ALG',
    );
    for (const place of ['/usr/local/new', '/boot/new', '/proc/sys/kernel/hostname'])
      assert.match(await evil.does(`echo >${place}`), /Read-only file system|Permission denied/);

    assert.match(await evil.does(`kill -9 ${others}`), /not permitted/);
    assert.deepEqual(
      (await appliance.status('shop')).workers.map(({ pid }) => pid),
      shop.workers.map(({ pid }) => pid),
    );

    const load = await GuestLoad.start(guest, shop.port, 4);
    const took: string[] = [];
    for (const [name, script] of Object.entries(attacks)) {
      const start = performance.now();
      await evil.does(script);
      took.push(`${name} ${Math.round(performance.now() - start)} ms`);
    }
    const report = await load.stop();
    t.diagnostic(
      `${suite}: ${took.join(', ')}; meanwhile ${report.answered} requests, the slowest ${Math.round(report.slowest)} ms`,
    );
    assert.deepEqual(report.errors, []);
    assert.ok(report.slowest < 2000, `a request to a neighbour took ${report.slowest} ms`);
    assert.deepEqual(
      (await appliance.status('shop')).workers.map(({ pid }) => pid),
      shop.workers.map(({ pid }) => pid),
    );

    // Nor does a server that was taken over have systemd read a file of root's.
    const variables = await guest.exec(`
      (umask 077 && echo STOLEN=yes >/root/variables)
      touch ${home}/environment && mv ${home}/environment ${home}/environment.own
      setpriv --reuid sluice --regid sluice --clear-groups ln -s /root/variables ${home}/environment
      systemctl restart sluice
      tr '\\0' '\\n' </proc/$(systemctl show -P MainPID sluice)/environ
      mv ${home}/environment.own ${home}/environment
      systemctl restart sluice
    `);
    assert.match(variables, /^SLUICE_HOME=/m);
    assert.doesNotMatch(variables, /STOLEN/);
    await appliance.sluice('restart evil');
    await waitFor(async () => Number(await guest.exec('pgrep -c -u sluice_evil || :')) < 20, {
      timeout: 30_000,
      what: 'the end of what the fork bomb has left',
    });
    assert.equal(await appliance.answer('evil'), 'at your service');
    const logs = Number(await guest.exec(`du -sm ${home}/apps/evil/production/logs | cut -f1`));
    t.diagnostic(`${suite}: its logs take ${logs} MB`);
    assert.ok(logs < 300, `its logs take ${logs} MB`);
    assert.equal(
      await guest.exec('systemctl show -P NRestarts sluice sluice-runner'),
      '0\n\n0\n',
      'nobody died',
    );
  });
}

/** Each ends by itself, or is ended by what limits it. */
const attacks = {
  'eating memory':
    '"$(readlink /proc/$PPID/exe)" -e "const eaten = []; for (;;) eaten.push(Buffer.alloc(1 << 24, 1))" 2>/dev/null',
  'burning processors': 'for _ in 1 2 3 4 5 6 7 8; do timeout 5 sh -c "while :; do :; done" & done; wait',
  'flooding the log': 'timeout 8 sh -c "yes $(printf %0200d 0) >/proc/$PPID/fd/1"',
  // The last one: while it lasts, the app can start nothing.
  'fork bomb': 'bomb() { bomb | bomb & }; timeout 5 bash -c "$(declare -f bomb); bomb; sleep 4" 2>/dev/null',
};

/** An app that does what it is told. */
class Evil {
  readonly #guest: Guest;
  readonly #port: number;

  constructor(guest: Guest, port: number) {
    this.#guest = guest;
    this.#port = port;
  }

  /** Runs a script. @returns its output and its exit */
  async does(script: string): Promise<string> {
    await this.#guest.write('root/evil.sh', script);
    const { stdout, stderr } = await this.#guest.try(
      `curl -sS --max-time 60 --data-binary @/root/evil.sh http://127.0.0.1:${this.#port}/`,
      { timeout: 90_000 },
    );
    return stdout + stderr;
  }

  async lines(script: string): Promise<string[]> {
    const lines = (await this.does(`${script} 2>/dev/null`)).split('\n');
    return lines.filter((line) => line !== '' && !line.startsWith('ended with'));
  }

  node(code: string): Promise<string> {
    return this.does(`"$(readlink /proc/$PPID/exe)" -e "${code}"`);
  }
}
