import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { Appliance } from './support/appliance.ts';
import { expressApp } from './support/apps.ts';
import { suites } from './support/cache.ts';
import { Guest } from './support/guest.ts';
import { install, installedGuest } from './support/installed.ts';
import { copyProject } from './support/project.ts';

for (const suite of suites) {
  test(`${suite}: uninstalling keeps the state for the next time, purging leaves nothing`, async (t) => {
    const bare = await Guest.boot(t, suite);
    await copyProject(join(bare.root, 'root/sluice'));
    const plain = await traces(bare);
    const guest = await installedGuest(t, suite);
    const appliance = new Appliance(guest);
    await appliance.deploy('shop', expressApp('shop'));

    await guest.exec('/root/sluice/install.sh --uninstall --yes', { timeout: 120_000 });
    assert.deepEqual(
      added(plain, await traces(guest)).filter(
        (trace) => !/^file \/var\/lib\/sluice\b|^g?(?:passwd|group|shadow) sluice/.test(trace),
      ),
      [],
      'nothing but what --purge would remove',
    );
    assert.equal((await guest.try('pgrep -u sluice_shop,sluice')).stdout, '', 'nothing runs');

    await guest.exec(install, { timeout: 300_000 });
    await appliance.answers((await appliance.status('shop')).port);
    assert.equal(await appliance.answer('shop'), 'shop', 'an installation takes over what is there');

    await guest.exec('/root/sluice/install.sh --uninstall --purge --yes', { timeout: 120_000 });
    assert.deepEqual(added(plain, await traces(guest)), []);
  });
}

/** Files that belong to no package, users, groups, units and processes. */
async function traces(guest: Guest): Promise<Set<string>> {
  const listed = await guest.exec(`
    cat /var/lib/dpkg/info/*.list | sort -u >/run/packaged
    find / -xdev \\( -path /proc -o -path /sys -o -path /run -o -path /dev -o -path /tmp -o -path /root/apps \\) -prune -o -print |
      sort | comm -23 - /run/packaged | sed 's/^/file /'
    for database in passwd group shadow gshadow; do cut -d: -f1 /etc/$database | sed "s/^/$database /"; done
    systemctl list-unit-files --no-legend | awk '$2 != "transient" { print "unit " $1 }'
    ps -eo user:32= | sort -u | sed 's/^/processes of /'
    sysctl net.ipv4.tcp_migrate_req
  `);
  return new Set(listed.split('\n').filter((line) => !itself.test(line)));
}

/** What apt, dpkg and systemd keep about themselves, also of packages that were installed: git and libatomic1 stay. */
const itself =
  /^file \/(?:usr\/share|usr\/lib\/x86_64|var\/(?:lib\/(?:apt|dpkg|systemd|ucf|pam)|cache|log|backups|tmp)|etc\/(?:alternatives|ssl\/certs|\.pwd\.lock|(?:passwd|group|shadow|gshadow|subuid|subgid)-|ld\.so\.cache))\b/;

function added(before: Set<string>, after: Set<string>): string[] {
  return [...after].filter((trace) => !before.has(trace));
}
