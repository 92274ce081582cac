import { createHash } from 'node:crypto';
import { chmod, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exists } from '../../../src/system/fs/exists.ts';
import { cache, type Suite } from './cache.ts';
import { run } from './command.ts';
import { type Host, host } from './host.ts';

/** Packages that a provider's image has beyond Debian's minimum. Node.js, npm and git are not among them. */
const packages =
  'libpam-systemd openssh-server sudo ca-certificates curl iproute2 iputils-ping procps netbase less tzdata'.split(
    ' ',
  );

/**
 * Raised when the recipe below changes: images of the older one are then built anew.
 */
const recipe = 2;

/**
 * User ids of a guest's system users. The host sees a guest's processes, and useradd gives ids from 999 down: a test on
 * the host that ends all processes of a user it made would end processes of a guest's user with the same id.
 */
const systemIds = { from: 400, to: 599 };

/** The directory of a Debian as a provider hands it over, built where it is not in the cache. */
export async function image(suite: Suite): Promise<string> {
  const from = await host();
  const key = createHash('sha256').update(JSON.stringify([recipe, suite, packages, from]));
  const root = join(cache, 'images', `${suite}-${key.digest('hex').slice(0, 12)}`);
  if (await exists(root)) return root;
  const fresh = `${root}.${process.pid}`;
  await mkdir(join(cache, 'images'), { recursive: true });
  try {
    await build(suite, fresh, from);
    await rename(fresh, root);
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
  return root;
}

async function build(suite: Suite, root: string, from: Host): Promise<void> {
  const include = '--include=systemd,systemd-sysv,dbus,ca-certificates';
  await run('debootstrap', ['--variant=minbase', include, suite, root, from.mirror], { timeout: 600_000 });
  await configure(suite, root, from);
  // A package must not start its service in an image that is not booted.
  await write(root, 'usr/sbin/policy-rc.d', '#!/bin/sh\nexit 101\n');
  await chmod(join(root, 'usr/sbin/policy-rc.d'), 0o755);
  await inside(
    root,
    `update-ca-certificates
     apt-get update
     apt-get -y dist-upgrade
     apt-get -y install --no-install-recommends ${packages.join(' ')}
     apt-get clean
     # one that runs in the background would hold dpkg's lock during a test
     systemctl disable apt-daily.timer apt-daily-upgrade.timer
     ${numberApart}
     # a machine makes these for itself
     rm -rf /usr/sbin/policy-rc.d /var/lib/apt/lists/* /var/cache/apt/*.bin /etc/ssh/ssh_host_* /var/lib/dbus/machine-id
     : >/etc/machine-id`,
  );
}

/** Moves system users and groups to `systemIds`, and makes useradd and adduser take ids from there. */
const numberApart = `
     sed -i '/^#*SYS_[UG]ID_M/d' /etc/login.defs
     for kind in UID GID; do
       printf 'SYS_%s_MIN ${systemIds.from}\\nSYS_%s_MAX ${systemIds.to}\\n' $kind $kind >>/etc/login.defs
       printf 'FIRST_SYSTEM_%s=${systemIds.from}\\nLAST_SYSTEM_%s=${systemIds.to}\\n' $kind $kind >>/etc/adduser.conf
     done
     system='$3 >= 100 && $3 <= 999 { print $1, $3 }'
     # chown clears the bits of setuid and setgid
     give() { mode=$(stat -c %a "$2") && chown --no-dereference "$1" "$2" && { [ -L "$2" ] || chmod "$mode" "$2"; }; }
     next=${systemIds.to}
     awk -F: "$system" /etc/passwd | while read -r name id; do
       usermod --uid $next "$name"
       find / -xdev -uid $id | while read -r file; do give $next "$file"; done
       next=$((next - 1))
     done
     next=${systemIds.to}
     awk -F: "$system" /etc/group | while read -r name id; do
       groupmod --gid $next "$name"
       find / -xdev -gid $id | while read -r file; do give :$next "$file"; done
       next=$((next - 1))
     done`;

async function configure(
  suite: Suite,
  root: string,
  { mirror, securityMirror, ...from }: Host,
): Promise<void> {
  const sources = [
    `deb ${mirror} ${suite} main`,
    `deb ${mirror} ${suite}-updates main`,
    `deb ${securityMirror} ${suite}-security main`,
  ];
  await write(root, 'etc/apt/sources.list', lines(sources));
  if (from.apt.length > 0) await write(root, 'etc/apt/apt.conf.d/99host', lines(from.apt));
  for (const [name, text] of Object.entries(from.authorities))
    await write(root, `usr/local/share/ca-certificates/${name}`, text);
  const env = Object.entries(from.env).map(([name, value]) => `${name}=${value}`);
  // Logins read the first, services are given the second.
  await write(root, 'etc/environment', lines(env));
  const manager = ['[Manager]', ...env.map((pair) => `DefaultEnvironment="${pair}"`)];
  await write(root, 'etc/systemd/system.conf.d/50-host.conf', lines(manager));
  await write(root, 'etc/resolv.conf', from.resolvConf);
}

/** Runs a script in an image that is not booted; what it mounts and starts ends with it. */
async function inside(root: string, script: string): Promise<void> {
  const mounts = 'mount -t proc proc "$1/proc"; mount -t tmpfs -o mode=755 tmpfs "$1/run"; exec chroot "$@"';
  await run(
    'unshare',
    [
      '--mount',
      '--ipc',
      '--pid',
      '--fork',
      '--kill-child',
      'sh',
      '-ec',
      mounts,
      'sh',
      root,
      'sh',
      '-ec',
      script,
    ],
    {
      env: {
        PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
        HOME: '/root',
        TERM: 'dumb',
        DEBIAN_FRONTEND: 'noninteractive',
      },
      timeout: 600_000,
    },
  );
}

async function write(root: string, path: string, text: string): Promise<void> {
  const file = join(root, path);
  await mkdir(join(file, '..'), { recursive: true });
  await rm(file, { force: true });
  await writeFile(file, text);
}

function lines(all: string[]): string {
  return all.map((line) => `${line}\n`).join('');
}
