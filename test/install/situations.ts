import assert from 'node:assert/strict';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { writeTree } from '../support/builds.ts';
import { Appliance } from './support/appliance.ts';
import { expressApp } from './support/apps.ts';
import { suites } from './support/cache.ts';
import { Guest } from './support/guest.ts';
import { install } from './support/installed.ts';
import { Laptop } from './support/laptop.ts';
import { installPackage } from './support/packages.ts';
import { copyProject } from './support/project.ts';
import { added, traces } from './support/traces.ts';

/** A state of a machine that prevents the installation of Sluice. */
interface Obstacle {
  what: string;
  /** the only suite to try it on */
  suite?: string;
  prepare: string;
  options?: string;
  /** what the installation says */
  cause: RegExp;
  undo: string;
}

const obstacles: Obstacle[] = [
  {
    what: "another program's user sluice",
    prepare: 'useradd --system --home-dir /srv/sluice --shell /bin/sh sluice',
    cause: /failed at checks: the user sluice is not Sluice's: sluice:x:\d+:\d+::\/srv\/sluice:\/bin\/sh\n/,
    undo: 'userdel sluice',
  },
  {
    what: 'a person with the home and the shell of ours',
    prepare:
      "useradd --system --home-dir /var/lib/sluice --shell /usr/sbin/nologin --comment 'Lee Sluice' sluice",
    cause: /the user sluice is not Sluice's: .*Lee Sluice/,
    undo: 'userdel sluice',
  },
  {
    what: 'a user of another program that has the home and the shell of ours, and no comment',
    prepare: 'useradd --system --home-dir /var/lib/sluice --shell /usr/sbin/nologin sluice',
    cause: /the user sluice is not Sluice's: /,
    undo: 'userdel sluice',
  },
  {
    what: "another program's group sluice-git",
    prepare: 'groupadd --system sluice-git',
    cause: /the group sluice-git is not Sluice's: sluice-git:x:\d+:\n {2}.*groupmod/,
    undo: 'groupdel sluice-git',
  },
  {
    what: "another program's directories",
    prepare: 'mkdir -p /opt/sluice/bin',
    cause: /the directory \/opt\/sluice is not Sluice's/,
    undo: 'rm -r /opt/sluice',
  },
  {
    what: "another program's state",
    prepare: 'mkdir /var/lib/sluice; chown www-data /var/lib/sluice',
    cause: /the directory \/var\/lib\/sluice, of the user www-data, is not Sluice's/,
    undo: 'rmdir /var/lib/sluice',
  },
  {
    what: "another program's unit",
    prepare: `printf '[Service]\\nExecStart=/bin/true\\n' >/etc/systemd/system/sluice.service; systemctl daemon-reload`,
    cause: /the unit sluice\.service is not Sluice's: \/etc\/systemd\/system\/sluice\.service/,
    undo: 'rm /etc/systemd/system/sluice.service; systemctl daemon-reload',
  },
  {
    what: 'a disk for the state that is nearly full',
    prepare: 'mkdir /var/lib/sluice; mount -t tmpfs -o size=100m tmpfs /var/lib/sluice',
    cause: /\/var\/lib\/sluice needs 256 MB, and the file system of \/var\/lib\/sluice has 100 MB free/,
    undo: 'umount /var/lib/sluice; rmdir /var/lib/sluice',
  },
  {
    what: 'a disk for programs that is read-only',
    prepare: 'mount -t tmpfs -o ro tmpfs /opt',
    cause: /\/opt cannot be written: the file system of \/opt is mounted read-only/,
    undo: 'umount /opt',
  },
  {
    what: 'a disk on which apt has no room',
    prepare: 'mount -t tmpfs -o size=1m tmpfs /var/cache/apt/archives; mkdir /var/cache/apt/archives/partial',
    cause: /failed at packages: .*\n {2}The disk is full: \/var\/cache\/apt\/archives \(\d MB free\)/,
    undo: 'umount /var/cache/apt/archives',
  },
  {
    what: 'a server of DNS that does not answer',
    // apt tries for 15 s.
    suite: 'bookworm',
    prepare: `cp /etc/resolv.conf /run/resolv.conf; printf 'nameserver 127.0.0.9\noptions timeout:1 attempts:1\n' >/etc/resolv.conf`,
    cause:
      /failed at packages: .*\n {2}The name of a server cannot be resolved\. .*\/etc\/resolv\.conf: 127\.0\.0\.9/,
    undo: 'cp /run/resolv.conf /etc/resolv.conf; rm /run/resolv.conf',
  },
  {
    what: 'Apache on port 80',
    prepare: '',
    options: '--domain deploy.example.com',
    cause:
      /port 80, which nginx needs for https:\/\/deploy\.example\.com, is in use by apache2 \(process \d+\)\n/,
    undo: 'systemctl disable --now apache2',
  },
];

for (const suite of suites) {
  test(`${suite}: a machine with 460 MB, odd settings and obstacles gets Sluice, as one pastes what is printed, and gets rid of it`, async (t) => {
    const guest = await Guest.boot(t, suite, { memory: 460 * 1024 ** 2 });
    await copyProject(join(guest.root, 'root/sluice'));
    await installPackage(guest, 'apache2-bin apache2');
    for (const obstacle of obstacles.filter((each) => (each.suite ?? suite) === suite))
      await t.test(`${obstacle.what} is named, and nothing is changed`, () => meet(guest, obstacle));

    const laptop = await Laptop.create(t);
    const password = await addAdministrator(guest, laptop);
    await makeOdd(guest, suite);
    const before = await traces(guest);
    // How a guest reaches the registries. sudo drops all other variables.
    const kept = 'NPM_CONFIG_REGISTRY,NODE_EXTRA_CA_CERTS,http_proxy,https_proxy,no_proxy';
    const answers = { '[sudo] password for ann: ': password };
    const far = `ssh -t -p 2222 ann@${guest.address}`;
    const told = await laptop.type(
      `LC_ALL=de_DE.UTF-8 ${far} 'umask 077; cd sluice && sudo --preserve-env=${kept} NODE_OPTIONS=--no-such-option TMPDIR=/nonexistent ./install.sh --yes'`,
      answers,
      400_000,
    );
    await t.test('each printed command works as it stands', () => paste(t, laptop, guest, told, answers));
    await t.test('an upgrade gives the users of an older version their comments', async () => {
      await guest.exec("usermod --comment '' sluice");
      assert.match(await guest.exec(install), /user sluice: comment/);
      assert.match(await guest.exec('getent passwd sluice'), /:Sluice server:/);
    });
    await t.test('a second release goes live in 460 MB, and nobody dies', async () => {
      const appliance = new Appliance(guest, '/opt/sluice/current/bin/sluice');
      await writeTree(join(laptop.home, 'shop'), expressApp('second'));
      await laptop.exec('cd shop && git commit -qam Second && git push deploy main');
      assert.equal(await appliance.answer('shop'), 'second');
      assert.equal(await guest.exec('systemctl show -P NRestarts sluice sluice-runner'), '0\n\n0\n');
    });
    await t.test(
      'a purge right after a push, and the printed command for packages, leave nothing',
      async () => {
        const uninstall = `${far} 'sudo /opt/sluice/current/install.sh --uninstall --purge --yes'`;
        // Other users and groups, with names like those of ours, and what an app has left where everybody may write.
        await guest.exec(`
        useradd --system sluice_other && useradd --system --comment 'Sluice app shop' --home-dir /srv sluice_more
        setpriv --reuid sluice_shop --regid sluice_shop --clear-groups sh -c 'echo left >/var/tmp/left; echo left >/dev/shm/left'
      `);
        await writeTree(join(laptop.home, 'shop'), expressApp('third'));
        const removed = await laptop.type(
          `(cd shop && git commit -qam Third && git push deploy main) && ${uninstall}`,
          answers,
        );
        const [, command = ''] = /To remove them: (apt-get .*)$/m.exec(removed) ?? [];
        assert.match(command, / git/);
        await guest.exec('id sluice_other && id sluice_more && userdel sluice_other && userdel sluice_more');
        await laptop.type(`${far} 'sudo ${command} --yes'`, answers);
        const after = await traces(guest);
        const changes = [...added(before, after), ...added(after, before)];
        assert.deepEqual(
          changes.filter((trace) => !/^(?:file \/home\/ann\/|processes of ann$)/.test(trace)),
          [],
        );
      },
    );
  });
}

/** Runs into an obstacle, and tries to remove what was not installed. */
async function meet(guest: Guest, { prepare, options = '', cause, undo }: Obstacle): Promise<void> {
  await guest.exec(prepare);
  const before = await traces(guest);
  const { code, stdout, stderr } = await guest.try(`${install} ${options}`, { timeout: 120_000 });
  await guest.exec('/root/sluice/install.sh --uninstall --purge --yes', { timeout: 60_000 });
  const after = await traces(guest);
  await guest.exec(undo);
  assert.notEqual(code, 0);
  assert.match(stderr, cause, stdout + stderr);
  const changes = [...added(before, after), ...added(after, before)];
  assert.deepEqual(
    changes.filter((trace) => !/^file \/opt\/sluice(?:\/install\.log|\/packages)?$/.test(trace)),
    [],
  );
  // A run that came as far as its log leaves this directory.
  await guest.exec('rm -rf /opt/sluice');
}

/** Makes ann, who logs in with a key at port 2222, and has to type a password for sudo. */
async function addAdministrator(guest: Guest, laptop: Laptop): Promise<string> {
  const password = 'correct horse';
  await cp(join(guest.root, 'root/sluice'), join(guest.root, 'home/ann/sluice'), { recursive: true });
  await guest.write('home/ann/.ssh/authorized_keys', await laptop.publicKey());
  await guest.exec(`
    useradd --groups sudo --shell /bin/bash ann
    echo 'ann:${password}' | chpasswd
    chown -R ann: /home/ann
    chmod 700 /home/ann/.ssh
    echo Port 2222 >/etc/ssh/sshd_config.d/port.conf
    systemctl restart ssh
  `);
  return password;
}

/** A full /tmp, and the settings of somebody who speaks German; on one of the suites /usr/local is read-only. */
async function makeOdd(guest: Guest, suite: string): Promise<void> {
  await installPackage(guest, 'locales');
  await guest.exec(`
    localedef -i de_DE -f UTF-8 de_DE.UTF-8
    mount -t tmpfs -o size=64k tmpfs /tmp
    dd if=/dev/zero of=/tmp/full 2>/dev/null || :
  `);
  if (suite === 'trixie')
    await guest.exec('mount --bind /usr/local /usr/local; mount -o remount,bind,ro /usr/local');
}

/** Pastes the lines that the installation has printed into the shell of a laptop, in the repository of an app. */
async function paste(
  t: TestContext,
  laptop: Laptop,
  guest: Guest,
  told: string,
  answers: Record<string, string>,
): Promise<void> {
  const lines = [...told.matchAll(/^ {2}((?:ssh|git|tar) .*)$/gm)].map(([, line = '']) => line);
  t.diagnostic(lines.join('\n').replace(/slc_[\w-]+/, 'slc_…'));
  assert.deepEqual(
    lines.map((line) => line.split(' ', 2).join(' ')),
    ['ssh -t', 'git remote', 'git push', 'ssh -fNL', 'tar -cz'],
  );
  assert.match(told, new RegExp(`^Replace ${guest.address} if you reach this server`, 'm'));
  await writeTree(join(laptop.home, 'shop'), expressApp('first'));
  await laptop.exec('cd shop && git init -q -b main && git add . && git commit -q -m First');
  const shown: string[] = [];
  for (const line of lines) {
    const name = line.startsWith('tar') ? 'till' : 'shop';
    shown.push(await laptop.type(`cd shop && ${line.replace('NAME', name)}`, answers));
  }
  const [added = '', , pushed = '', , uploaded = ''] = shown;
  const appliance = new Appliance(guest, '/opt/sluice/current/bin/sluice');
  assert.equal(await appliance.answer('shop'), 'first');
  assert.equal(await appliance.answer('till'), 'first');
  // keys add prints the address as well.
  assert.match(
    added,
    new RegExp(`git remote add deploy ssh://sluice-git@${guest.address}:2222/APP && git push`),
  );
  for (const text of [pushed, uploaded])
    assert.match(
      text,
      /live: http:\/\/127\.0\.0\.1:\d+ .* \(on the server only: `sluice domains add (?:shop|till) NAME`/,
    );
}
