/** The first descriptor that systemd passes (source: sd_listen_fds(3)). */
const firstDescriptor = 3;

/**
 * Returns the descriptors of the listening sockets that systemd has passed to this process, and removes the variables: they
 * are not for children. Node.js has made the descriptors close-on-exec at its start.
 */
export function takePassedSockets(env: NodeJS.ProcessEnv = process.env): number[] {
  const { LISTEN_PID, LISTEN_FDS } = env;
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) delete env[name];
  const count = Number(LISTEN_FDS);
  if (Number(LISTEN_PID) !== process.pid || !Number.isInteger(count) || count < 1) return [];
  return Array.from({ length: count }, (_, index) => firstDescriptor + index);
}
