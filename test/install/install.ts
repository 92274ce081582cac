import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { Appliance } from './support/appliance.ts';
import { expressApp } from './support/apps.ts';
import { suites } from './support/cache.ts';
import { Guest } from './support/guest.ts';
import { install } from './support/installed.ts';
import { copyProject } from './support/project.ts';
import { publish } from './support/publisher.ts';

/** The project promises a third of these on a machine of its own; here others may be at work. */
const limits = { first: 180_000, second: 15_000 };

for (const suite of suites) {
  test(`${suite}: one line makes an appliance of a plain machine, and a second run changes nothing`, async (t) => {
    const guest = await Guest.boot(t, suite);
    await copyProject(join(guest.root, 'root/sluice'));
    const dryRun = await guest.exec('cd /root/sluice && ./install.sh --dry-run');
    assert.match(dryRun, /Nothing was changed/);
    assert.equal((await guest.try('ls /opt/sluice /var/lib/sluice; id sluice')).stdout, '');

    const { filledIn, sha256 } = await publish(t, guest);
    const line = `curl -fsSL ${filledIn} | SLUICE_SHA256=${sha256} sh`;
    const first = await timed(() => guest.exec(line, { timeout: limits.first }));
    t.diagnostic(`${suite}: installed in ${first.ms} ms`);
    assert.match(first.value, /git remote add/);
    assert.match(first.value, /git push/);
    assert.match(first.value, /curl/);
    assert.match(first.value, /slc_/, 'a token');
    assert.equal(await guest.exec('systemctl is-active sluice sluice-runner'), 'active\nactive\n');
    assert.equal((await guest.try('command -v node npm')).stdout, '', 'nothing of Node.js lands in the path');

    // A run that was killed leaves its directory of temporary files; one that goes on has a lock on it.
    assert.equal(await guest.exec('ls -A /opt'), 'sluice\n');
    const [killed, lasting] = ['/opt/.sluice-install-killed', '/run/.sluice-install-lasting'];
    await guest.exec(`mkdir -m 700 ${killed} ${lasting}; flock ${lasting} sleep 600 >/dev/null 2>&1 &`);
    const before = await everything(guest);
    const second = await timed(() => guest.exec(install));
    t.diagnostic(`${suite}: a second run took ${second.ms} ms`);
    assert.deepEqual(await everything(guest), before);
    assert.doesNotMatch(second.value, /slc_/, 'no second token');
    assert.equal((await guest.try(`ls -d ${killed} ${lasting}`)).stdout, `${lasting}\n`);
    assert.equal(await guest.exec('ls -A /opt'), 'sluice\n');
    assert.ok(second.ms < limits.second, `a second run took ${second.ms} ms`);

    const appliance = new Appliance(guest);
    await appliance.deploy('shop', expressApp('a shop'));
    assert.equal(await appliance.answer('shop'), 'a shop');
    for (const [unit, highest] of [
      ['sluice.service', 3],
      ['sluice-runner.service', 5],
    ] as const) {
      const exposure = await guest.exec(`systemd-analyze security ${unit} --no-pager | tail -n 1`);
      const [, level] = /exposure level for \S+ (\S+)/.exec(exposure) ?? [];
      t.diagnostic(`${suite}: ${unit} ${level}`);
      assert.ok(Number(level) <= highest, exposure);
    }
  });
}

async function timed<T>(action: () => Promise<T>): Promise<{ value: T; ms: number }> {
  const start = performance.now();
  const value = await action();
  return { value, ms: Math.round(performance.now() - start) };
}

/** All that the installation consists of, with when it was last changed, and who runs. What runs writes below /var/lib/sluice. */
async function everything(guest: Guest): Promise<string[]> {
  const listed = await guest.exec(`
    find /opt/sluice /etc /usr/local /var/lib/dpkg -xdev ! -name install.log ! -path '*/cache/*' -printf '%p %T@ %m %U %l\n'
    find /opt/sluice /etc /usr/local -xdev -type f ! -name install.log ! -path '*/cache/*' -exec sha256sum {} +
    find /var/lib/sluice -maxdepth 1 -printf '%p %m %U\n'
    systemctl show -p MainPID sluice sluice-runner
  `);
  return listed.split('\n').sort();
}
