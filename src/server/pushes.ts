import { homedir, userInfo } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AuthorizedKeys } from '../api/authorized-keys.ts';
import { installedTree } from '../config/installed.ts';
import type { Paths } from '../config/paths.ts';
import type { ServerSettings } from '../config/server-settings.ts';

/** Where sshd finds the keys that may push, and where what it starts for them finds us. */
interface Pushes {
  authorizedKeys: AuthorizedKeys;
  socket: { path: string; mode: number };
}

/**
 * Pushes come in as the user that we are, or as one of their own. That one can read the file and open the socket by its
 * group, which both have from their directory; nothing else of ours is open to it.
 */
export function placeOfPushes(paths: Paths, { ssh }: ServerSettings): Pushes {
  if (ssh.user === undefined) {
    const path = ssh.authorizedKeys.replace(/^~(?=\/)/, homedir());
    const command = [...relay, paths.sshSocket];
    return {
      authorizedKeys: new AuthorizedKeys({ path, user: userInfo().username }, paths.home, command),
      socket: { path: paths.sshSocket, mode: 0o600 },
    };
  }
  const command = [...relay, paths.pushSocket];
  return {
    authorizedKeys: new AuthorizedKeys(
      { path: paths.pushKeys, user: ssh.user, mode: 0o640 },
      paths.home,
      command,
    ),
    socket: { path: paths.pushSocket, mode: 0o660 },
  };
}

/** The command that carries a push to us. */
const relay =
  installedTree === undefined
    ? [process.execPath, fileURLToPath(new URL('../relay/ssh.cjs', import.meta.url))]
    : [join(installedTree, 'libexec/node'), join(installedTree, 'src/relay/ssh.cjs')];
