import { createHash } from 'node:crypto';
import { lstat } from 'node:fs/promises';
import { homedir, tmpdir, userInfo } from 'node:os';
import { join, resolve } from 'node:path';
import { AppError } from '../errors/app-error.ts';
import { ifThere } from '../system/fs/exists.ts';
import { listDirectory } from '../system/fs/files.ts';
import { systemHome } from './installed.ts';

/** An environment: an app in one of its environments, with its own releases, port, variables and workers. */
export interface EnvironmentId {
  app: string;
  environment: string;
}

export const defaultEnvironment = 'production';

/** Returns the name of an environment, for messages and as a key: `shop`, or `shop@staging`. */
export function environmentName({ app, environment }: EnvironmentId): string {
  return environment === defaultEnvironment ? app : `${app}@${environment}`;
}

/** Returns the environment with a name; undefined if the name is invalid. */
export function parseEnvironmentName(name: string): EnvironmentId | undefined {
  const [app = '', environment = defaultEnvironment] = name.split('@');
  const id = { app, environment };
  return isName(app) && isName(environment) && environmentName(id) === name ? id : undefined;
}

/** Returns true if `name` is valid for an app or an environment. Both become directory names. */
export function isName(name: string): boolean {
  return /^[a-z][a-z0-9-]{0,39}$/.test(name);
}

class Directory {
  readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
  }

  protected in(name: string): string {
    return `${this.directory}/${name}`;
  }
}

/** Paths in the home, $SLUICE_HOME. docs/internals/disk.md describes the content and the writer of each file. */
export class Paths extends Directory {
  readonly home = this.directory;
  /** sockets and locks */
  readonly run = runDirectory(this.home);

  constructor(home: string) {
    super(resolve(home));
  }

  readonly settings = this.in('config.json');
  readonly tokens = this.in('tokens.json');
  readonly runTokens = this.in('run-tokens.json');
  /** public keys that may push */
  readonly keys = this.in('keys.json');
  /** host names of apps */
  readonly domains = this.in('domains.json');
  readonly edge = new EdgePaths(this.in('edge'));
  readonly events = this.in('events.jsonl');
  readonly earlierEvents = this.in('events.jsonl.1');
  /** highest port that an app was assigned */
  readonly ports = this.in('ports.json');
  readonly log = this.in('sluice.log');
  /** process id of libexec/supervise.sh, which restarts the server of `sluice up` */
  readonly supervisor = this.in('up.pid');
  readonly cache = this.in('cache');
  /** package managers and versions of Node.js, one directory for each name and version */
  readonly tools = join(this.cache, 'tools');
  /** list of the versions of Node.js in the npm registry */
  readonly nodeList = join(this.cache, 'node-versions.json');

  readonly serverLock = join(this.run, 'server.lock');
  readonly serverSocket = join(this.run, 'server.sock');
  /** socket for git pushes over ssh; serves git only */
  readonly sshSocket = join(this.run, 'ssh.sock');
  /** directory that the user of the setting `ssh.user` may enter */
  readonly pushes = this.in('ssh');
  readonly pushSocket = join(this.pushes, 'push.sock');
  readonly pushKeys = join(this.pushes, 'authorized_keys');
  readonly runnerLock = join(this.run, 'runner.lock');
  readonly runnerSocket = join(this.run, 'runner.sock');
  /** socket to which workers connect when their runner has ended */
  readonly orphanSocket = join(this.run, 'orphans.sock');
  /** FIFOs for the output of processes, and their state for the next runner */
  readonly outputs = join(this.run, 'outputs');
  /** one file for each live worker and job, named by pid */
  readonly processes = join(this.run, 'processes');

  readonly apps = this.in('apps');

  app(app: string): string {
    return join(this.apps, app);
  }

  /** Returns the bare repository of an app, for all its environments. */
  repository(app: string): string {
    return join(this.apps, app, 'repo.git');
  }

  environment(id: EnvironmentId): EnvironmentPaths {
    return new EnvironmentPaths(join(this.apps, id.app, id.environment));
  }
}

/** Paths of files for nginx and for ACME orders. */
export class EdgePaths extends Directory {
  /** desired configuration of nginx: the server writes it, `sluice-edge.service` reads it */
  readonly desired = this.in('wanted.json');
  /** result of the last change: `sluice-edge.service` writes it, the server reads it */
  readonly applied = this.in('applied.json');
  /** responses to challenges of an ACME server, which nginx serves */
  readonly challenges = this.in('challenges');
  readonly certificates = this.in('certificates');
  /** accounts at ACME servers, with private keys */
  readonly account = this.in('account.json');
  /** results of orders, and the time of the next order */
  readonly orders = this.in('orders.json');
  /** open orders, one file for each host name, with the private key of the new certificate */
  readonly openOrders = this.in('open-orders');
  readonly orderLock = this.in('order.lock');

  /** Returns the file with the private key and the chain of a host name. One file, so that both always match. */
  certificate(name: string): string {
    return join(this.certificates, `${name}.pem`);
  }

  openOrder(name: string): string {
    return join(this.openOrders, `${name}.json`);
  }
}

export class EnvironmentPaths extends Directory {
  /** port, desired state, number of workers: see config/environment-state.ts */
  readonly state = this.in('app.json');
  /** variables of the app, by name */
  readonly env = this.in('env.json');
  /** build-only variables, and facts about all variables: see apps/variable-set.ts */
  readonly variableDetails = this.in('env-details.json');
  readonly releases = this.in('releases');
  /** releases that are received or built; beside `releases`, so that a rename publishes them */
  readonly staging = this.in('staging');
  /** link to the active release, for people and scripts */
  readonly current = this.in('current');
  /** active generation and its release; its rename commits a switch */
  readonly generation = this.in('generation');
  /** results of the last scheduled jobs */
  readonly cron = this.in('cron.json');
  /** caches of package managers that only this app uses; unused if the app has a system user */
  readonly cache = this.in('cache');
  /** facts about the installed packages that the app keeps for its next deploy */
  readonly keptPackages = this.in('packages.json');
  /** facts about the caches of build tools that the app keeps for its next build */
  readonly keptCaches = this.in('build-caches.json');
  readonly shared = this.in('shared');
  /** temporary files of an app that has a system user; other users could read them in /tmp */
  readonly temporary = this.in('tmp');
  /** home of the app's system user, if any */
  readonly home = this.in('home');
  readonly logs = this.in('logs');

  release(number: number): ReleasePaths {
    return new ReleasePaths(join(this.releases, String(number)));
  }

  staged(number: number): ReleasePaths {
    return new ReleasePaths(join(this.staging, String(number)));
  }

  /** Returns where all releases are built, one after the other: caches of build tools contain this path. */
  get built(): ReleasePaths {
    return new ReleasePaths(join(this.staging, 'build'));
  }
}

/** Directory of a release, in staging or in its final place, and the records of Sluice in it. */
export class ReleasePaths extends Directory {
  readonly records = this.in('.sluice');
  readonly record = join(this.records, 'release.json');
  readonly buildLog = join(this.records, 'build.log');
  /** files with a hash in their name that the build of this release wrote: see deploy/carry-assets.ts */
  readonly assets = join(this.records, 'assets.json');
}

/** Returns $SLUICE_HOME; by default the home of a system-wide install, or `.sluice` in the working directory. */
export function homeFromEnvironment(env: NodeJS.ProcessEnv = process.env): string {
  const home = env['SLUICE_HOME'];
  if (home === undefined || home === '') return systemHome ?? resolve('.sluice');
  return home.startsWith('~/') ? join(homedir(), home.slice(2)) : resolve(home);
}

/** Returns all environments that have a directory, sorted by name, whatever it contains. */
export async function listEnvironments(paths: Paths): Promise<EnvironmentId[]> {
  const found: EnvironmentId[] = [];
  // Other entries, such as an app's repository, have names that no app or environment can have.
  for (const app of (await listDirectory(paths.apps)).filter(isName).sort()) {
    for (const environment of (await listDirectory(paths.app(app))).filter(isName).sort()) {
      found.push({ app, environment });
    }
  }
  return found;
}

/** Limit of the path of a unix socket in bytes: 107 on Linux (unix(7)), 103 on macOS. */
const maxSocketPath = process.platform === 'darwin' ? 103 : 107;

/**
 * Returns the directory of sockets: `run` in the home. If that path is too long for a unix socket, returns a directory of this
 * user in the temporary directory, named by a hash of the home.
 */
function runDirectory(home: string): string {
  const inHome = join(home, 'run');
  const longest = Buffer.byteLength(join(inHome, 'orphans.sock'));
  if (longest <= maxSocketPath) return inHome;
  const hash = createHash('sha256').update(home).digest('hex').slice(0, 12);
  return join(tmpdir(), `sluice-${userInfo().uid}-${hash}`);
}

/**
 * Checks that no other user can put sockets into the run directory. In the temporary directory, any user may have created that
 * directory. Accepts a directory that does not exist yet.
 * @throws AppError `path_too_long`
 */
export async function checkRunDirectory({ home, run }: Paths): Promise<void> {
  if (run === join(home, 'run')) return;
  const stats = await ifThere(lstat(run));
  if (stats === undefined) return;
  if (stats.isDirectory() && stats.uid === process.getuid?.() && (stats.mode & 0o077) === 0) return;
  throw new AppError('path_too_long', `${run}, the directory for the sockets of ${home}, is open to others`, {
    hint: 'Remove this directory, or set SLUICE_HOME to a shorter path, so that the sockets are in the home.',
  });
}
