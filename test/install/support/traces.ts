import type { Guest } from './guest.ts';

/** Lists what an installation may leave: files of no package, users, groups, units, packages, and who has processes. */
export async function traces(guest: Guest): Promise<Set<string>> {
  const listed = await guest.exec(`
    cat /var/lib/dpkg/info/*.list | sort -u >/run/packaged
    find / -xdev \\( -path /proc -o -path /sys -o -path /run -o -path /dev -o -path /tmp -o -path /root/apps \\) -prune -o -print |
      sort | comm -23 - /run/packaged | sed 's/^/file /'
    find /run /tmp /var/tmp /dev/shm -mindepth 1 -maxdepth 1 | sed 's/^/file /'
    for database in passwd group shadow gshadow; do cut -d: -f1 /etc/$database | sed "s/^/$database /"; done
    systemctl list-unit-files --no-legend | awk '$2 != "transient" { print "unit " $1 }'
    ps -eo user:32= | sort -u | sed 's/^/processes of /'
    dpkg-query -W -f '\${db:Status-Status} \${Package}\\n' | sed -n 's/^installed /package /p'
    sysctl net.ipv4.tcp_migrate_req
  `);
  return new Set(listed.split('\n').filter((line) => !itself.test(line)));
}

/** Files that apt, dpkg, systemd, logins and timers write about themselves. */
const itself =
  /^file \/(?:usr\/share|usr\/lib\/x86_64|var\/(?:lib\/(?:apt|dpkg|systemd|ucf|pam)|cache|log|backups|tmp\/systemd-private-|tmp$)|etc\/(?:alternatives|ssl\/certs|\.pwd\.lock|(?:passwd|group|shadow|gshadow|subuid|subgid)-|ld\.so\.cache)|tmp\/systemd-private-|run\/(?:packaged|sshd|utmp|sudo|log|mount|lock|credentials|systemd|user|dbus|udev|initctl|motd|reboot-required|blkid|agetty|host|crond|resolvconf|shm))\b/;

/** Lists what is in the second set and not in the first. */
export function added(before: Set<string>, after: Set<string>): string[] {
  return [...after].filter((trace) => !before.has(trace));
}
