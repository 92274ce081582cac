import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/**
 * Tells systemd that we are ready, where it has started us and waits to hear of it. Node.js has no unix datagrams, so
 * systemd's own program says it.
 * @param status what `systemctl status` shows from now on
 */
export async function sayReadyToSystemd(status: string): Promise<void> {
  if (!process.env['NOTIFY_SOCKET']) return;
  await promisify(execFile)('systemd-notify', ['--ready', `--status=${status}`]);
}
