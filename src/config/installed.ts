import manifest from '../../package.json' with { type: 'json' };

/*
 * Facts that depend on the location of this code, for messages and defaults. `isUnitHome` asks systemd if it runs Sluice with a
 * home: a checkout may use the home of an installation.
 */

/** Directory of a system-wide install: all versions, and `current`, a link to the version that runs. */
export const installRoot = '/opt/sluice';

/** Directory of the version that runs, by a path that an upgrade does not change; undefined in a checkout. */
export const installedTree: string | undefined = import.meta.dirname.startsWith(`${installRoot}/`)
  ? `${installRoot}/current`
  : undefined;

/** Home of a system-wide install; undefined in a checkout. */
export const systemHome: string | undefined = installedTree && '/var/lib/sluice';

/** Unix socket of the API for nginx. `sluice.socket` opens both this socket and the TCP port. */
export const apiSocket = '/run/sluice/api.sock';

/** Unit of systemd that opens the sockets of the API. They stay open while the server restarts or rests, and connections wait. */
export const socketUnit = 'sluice.socket';

/** Unit of the server, which rests when it has no work: `inactive` is then its usual state. */
export const serverUnit = 'sluice.service';

/** Units that open the other sockets of the server. They start and stop with `socketUnit`. */
export const otherSocketUnits = ['sluice-local.socket', 'sluice-push.socket'] as const;

/** Units that start with the machine. Stop them in this order, and start them in reverse order. */
export const ownUnits = [socketUnit, serverUnit, 'sluice-runner.service'] as const;

/**
 * Returns the place of Sluice's own log, for a sentence.
 * @param bySystemd true if systemd runs Sluice, so that the journal has the log; undefined if unknown
 */
export function ownLog(bySystemd?: boolean): string {
  const [file, journal] = ['sluice.log in the home', '`journalctl -u sluice -u sluice-runner`'];
  if (bySystemd === undefined) return `${file}, or under systemd ${journal},`;
  return bySystemd ? journal : file;
}

/** Version of Sluice. */
export const { version } = manifest;
