import { posix } from 'node:path';
import { staysInside } from '../start-command/project.ts';

/** Files of a release and facts about the machine, for what a file of PM2 says. Paths are relative to the directory of the app. */
export interface Release {
  /** directory of the app, relative to the release */
  app: string;
  /** directory in which PM2 would run */
  base: string;
  /** directory of the app while its file is evaluated; absolute */
  evaluatedIn: string;
  /** directory of the app when it runs; absolute */
  runsIn: string;
  /** true if the build may still write files */
  mayBuild: boolean;
  /** number of processors */
  cores: number;
  /** returns the kind of a path; undefined if nothing is there */
  kindOf(path: string): Promise<'file' | 'directory' | undefined>;
  /** returns true if the program of a command seems to start a server; undefined if that is not known */
  listens(command: string): Promise<boolean | undefined>;
  /** returns true if the program of a command does not read PORT, and has this port in its code */
  hasFixedPort(command: string, port: number): Promise<boolean>;
}

/** Path in the release, and a phrase about it if it is not the one that is written. */
export interface Place {
  path: string;
  moved?: string;
}

/** Directories that a build writes. */
const written = /\/((?:dist|build|out|output|lib|\.next|\.output|\.nuxt|node_modules)\/.+)$/;

const maxSegments = 32;

/**
 * Returns the path in the release for a path of a file of PM2. An absolute path is one of the server on which PM2 ran: it counts if
 * its end is in the release.
 * @param base directory that a relative path is relative to
 * @returns undefined for a path outside of the release
 */
export async function placeOf(
  path: string,
  kind: 'file' | 'directory',
  release: Release,
  base = release.base,
): Promise<Place | undefined> {
  const plain = path.replace(/^file:\/\//, '');
  const isIn = (relative: string) => staysInside(posix.join(release.app, relative));
  if (!plain.startsWith('/')) {
    const joined = posix.normalize(posix.join(base, plain)).replace(/(?<=.)\/$/, '');
    return isIn(joined) ? { path: joined } : undefined;
  }
  const normal = posix.normalize(plain).replace(/(?<=.)\/$/, '');
  const inside = posix.relative(release.evaluatedIn, normal);
  if (isIn(inside)) return { path: inside === '' ? '.' : inside };
  const moved = (to: string): Place => ({
    path: to,
    moved: `${to === '.' ? 'the directory of the app' : to} for ${path}`,
  });
  const segments = normal
    .split('/')
    .filter((segment) => segment !== '')
    .slice(-maxSegments);
  for (const at of segments.keys()) {
    const end = segments.slice(at).join('/');
    if ((await release.kindOf(end)) === kind) return moved(end);
  }
  const output = release.mayBuild && kind === 'file' ? written.exec(normal)?.[1] : undefined;
  if (output !== undefined) return moved(output);
  // The checkout of the repository on that server.
  return kind === 'directory' ? moved('.') : undefined;
}

/** Returns a text with the directory of the evaluation replaced by the directory of the release that runs. */
export function inRelease(text: string, { evaluatedIn, runsIn }: Release): string {
  return text.replaceAll(evaluatedIn, () => runsIn);
}
