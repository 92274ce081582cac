/*
 * What follows from where this code lies, at once and for messages and defaults. Whether systemd runs Sluice with a certain
 * home is another question, also for a checkout that is used on the same machine: `isUnitHome` asks systemd.
 */

/** Where a system-wide install has its versions, side by side, and `current`, a link to the one that runs. */
export const installRoot = '/opt/sluice';

/** The tree of the version that runs, by a path that an upgrade does not change; undefined where this is a checkout. */
export const installedTree: string | undefined = import.meta.dirname.startsWith(`${installRoot}/`)
  ? `${installRoot}/current`
  : undefined;

/** The home of a system-wide install; undefined where this is a checkout. */
export const systemHome: string | undefined = installedTree && '/var/lib/sluice';

/** Unix socket of the API for nginx. `sluice.socket` opens both this socket and the TCP port. */
export const apiSocket = '/run/sluice/api.sock';

/** Unit of systemd that opens the sockets of the API. They stay open, and connections wait, while the server is restarted. */
export const socketUnit = 'sluice.socket';

/** Units that systemd runs all the time. Stop them in this order, and start them in reverse order. */
export const ownUnits = [socketUnit, 'sluice.service', 'sluice-runner.service'] as const;

/**
 * Where our own log is, for a sentence.
 * @param bySystemd whether it is units of systemd that run, and no file is written then; undefined where that is not known
 */
export function ownLog(bySystemd?: boolean): string {
  const [file, journal] = ['sluice.log in the home', '`journalctl -u sluice -u sluice-runner`'];
  if (bySystemd === undefined) return `${file}, or under systemd ${journal},`;
  return bySystemd ? journal : file;
}
