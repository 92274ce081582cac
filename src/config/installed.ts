/** Where a system-wide install has its versions, side by side, and `current`, a link to the one that runs. */
export const installRoot = '/opt/sluice';

/** The tree of the version that runs, by a path that an upgrade does not change; undefined where this is a checkout. */
export const installedTree: string | undefined = import.meta.dirname.startsWith(`${installRoot}/`)
  ? `${installRoot}/current`
  : undefined;

/** The home of a system-wide install; undefined where this is a checkout. */
export const systemHome: string | undefined = installedTree && '/var/lib/sluice';
