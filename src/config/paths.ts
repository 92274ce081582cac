import { createHash } from 'node:crypto';
import { lstat } from 'node:fs/promises';
import { homedir, tmpdir, userInfo } from 'node:os';
import { join, resolve } from 'node:path';
import { AppError } from '../errors/app-error.ts';
import { ifThere } from '../system/fs/exists.ts';
import { listDirectory } from '../system/fs/files.ts';
import { systemHome } from './installed.ts';

/** An app in one of its environments: what has releases, a port, variables and workers of its own. */
export interface EnvironmentId {
  app: string;
  environment: string;
}

export const defaultEnvironment = 'production';

/** `shop`, or `shop@staging`: how a target is written for people, and the key it has in memory. */
export function environmentName({ app, environment }: EnvironmentId): string {
  return environment === defaultEnvironment ? app : `${app}@${environment}`;
}

/** The inverse; undefined where no target has such a key. */
export function parseEnvironmentName(key: string): EnvironmentId | undefined {
  const [app = '', environment = defaultEnvironment, ...more] = key.split('@');
  const target = { app, environment };
  const isOne = isName(app) && isName(environment) && more.length === 0 && environmentName(target) === key;
  return isOne ? target : undefined;
}

const namePattern = /^[a-z][a-z0-9-]{0,39}$/;

/** Whether `name` can name an app or an environment. Both become directory names. */
export function isName(name: string): boolean {
  return namePattern.test(name);
}

/** Unix socket paths end at 107 bytes on Linux (unix(7)) and at 103 on macOS. */
const maxSocketPath = process.platform === 'darwin' ? 103 : 107;

/**
 * Where everything lies on the disk: the one place that knows. `home` is $SLUICE_HOME; see docs/architecture.md
 * for what each file holds and who writes it.
 */
export class Paths {
  readonly home: string;
  readonly run: string;

  constructor(home: string) {
    this.home = resolve(home);
    this.run = runDirectory(this.home);
  }

  get settings(): string {
    return join(this.home, 'config.json');
  }
  get tokens(): string {
    return join(this.home, 'tokens.json');
  }
  /** public keys that may push */
  get keys(): string {
    return join(this.home, 'keys.json');
  }
  /** host names that lead to apps */
  get domains(): string {
    return join(this.home, 'domains.json');
  }
  get edge(): EdgePaths {
    return new EdgePaths(join(this.home, 'edge'));
  }
  get events(): string {
    return join(this.home, 'events.jsonl');
  }
  get log(): string {
    return join(this.home, 'sluice.log');
  }
  /** has the process id of libexec/supervise.sh, which starts the server of `sluice up` again when it dies */
  get supervisor(): string {
    return join(this.home, 'up.pid');
  }
  get cache(): string {
    return join(this.home, 'cache');
  }
  /** package managers, one directory a name and version */
  get tools(): string {
    return join(this.cache, 'tools');
  }

  get serverLock(): string {
    return join(this.run, 'server.lock');
  }
  get serverSocket(): string {
    return join(this.run, 'server.sock');
  }
  /** for what sshd starts: it serves git and nothing else */
  get sshSocket(): string {
    return join(this.run, 'ssh.sock');
  }
  /** what a user of its own that pushes come in as may enter: see `ssh.user` in the settings */
  get pushes(): string {
    return join(this.home, 'ssh');
  }
  get pushSocket(): string {
    return join(this.pushes, 'push.sock');
  }
  get pushKeys(): string {
    return join(this.pushes, 'authorized_keys');
  }
  get runnerLock(): string {
    return join(this.run, 'runner.lock');
  }
  get runnerSocket(): string {
    return join(this.run, 'runner.sock');
  }
  /** where workers report to when the runner that started them is gone */
  get orphanSocket(): string {
    return join(this.run, 'orphans.sock');
  }
  /** FIFOs that processes print into, and what the next runner must know of them */
  get outputs(): string {
    return join(this.run, 'outputs');
  }
  /** one file for every live worker and job, named by pid */
  get processes(): string {
    return join(this.run, 'processes');
  }

  get apps(): string {
    return join(this.home, 'apps');
  }
  app(app: string): string {
    return join(this.apps, app);
  }
  /** what was pushed to an app: a bare repository, one for all its environments */
  repository(app: string): string {
    return join(this.apps, app, 'repo.git');
  }
  environment(target: EnvironmentId): EnvironmentPaths {
    return new EnvironmentPaths(join(this.apps, target.app, target.environment));
  }
}

/** What stands between us and nginx, and us and an ACME server. */
export class EdgePaths {
  readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
  }

  /** what nginx is to do: we write it, `sluice-edge.service` reads it */
  get wanted(): string {
    return join(this.directory, 'wanted.json');
  }
  /** what came of it: the other way round */
  get applied(): string {
    return join(this.directory, 'applied.json');
  }
  /** answers to an ACME server's questions, which nginx hands out */
  get challenges(): string {
    return join(this.directory, 'challenges');
  }
  get certificates(): string {
    return join(this.directory, 'certificates');
  }
  /** private key and chain of a host name, in one file, so that they cannot but belong together */
  certificate(name: string): string {
    return join(this.certificates, `${name}.pem`);
  }
  /** our accounts at ACME servers, with their private keys */
  get account(): string {
    return join(this.directory, 'account.json');
  }
  /** how orders went, and when the next may be made */
  get orders(): string {
    return join(this.directory, 'orders.json');
  }
  /** orders that are open, one file a host name, with the private key of the certificate that is to come */
  get openOrders(): string {
    return join(this.directory, 'open-orders');
  }
  openOrder(name: string): string {
    return join(this.openOrders, `${name}.json`);
  }
  get orderLock(): string {
    return join(this.directory, 'order.lock');
  }
}

export class EnvironmentPaths {
  readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
  }

  /** port, desired state, worker count: see config/target-state.ts */
  get state(): string {
    return join(this.directory, 'app.json');
  }
  get env(): string {
    return join(this.directory, 'env.json');
  }
  get releases(): string {
    return join(this.directory, 'releases');
  }
  release(number: number): ReleasePaths {
    return new ReleasePaths(join(this.releases, String(number)));
  }
  /** where releases are received and built, beside `releases` so that a rename moves them there */
  get staging(): string {
    return join(this.directory, 'staging');
  }
  staged(number: number): ReleasePaths {
    return new ReleasePaths(join(this.staging, String(number)));
  }
  /** a link to the active release, for people and scripts */
  get current(): string {
    return join(this.directory, 'current');
  }
  /** which generation, of which release, is active: the commit point of a switch */
  get generation(): string {
    return join(this.directory, 'generation');
  }
  /** how what is done at set times went last */
  get cron(): string {
    return join(this.directory, 'cron.json');
  }
  /** caches of package managers that only this app uses; unused if the app has a system user */
  get cache(): string {
    return join(this.directory, 'cache');
  }
  get shared(): string {
    return join(this.directory, 'shared');
  }
  /** temporary files of an app that has a system user: in /tmp, others could read them */
  get temporary(): string {
    return join(this.directory, 'tmp');
  }
  /** of the system user that it runs as, where it has one */
  get home(): string {
    return join(this.directory, 'home');
  }
  get logs(): string {
    return join(this.directory, 'logs');
  }
}

/** A release's tree, in staging or in its final place, and our records in it. */
export class ReleasePaths {
  readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
  }

  get records(): string {
    return join(this.directory, '.sluice');
  }
  get record(): string {
    return join(this.records, 'release.json');
  }
  get buildLog(): string {
    return join(this.records, 'build.log');
  }
}

/** $SLUICE_HOME, or the home of a system-wide install, or `.sluice` in the working directory. */
export function homeFromEnvironment(env: NodeJS.ProcessEnv = process.env): string {
  const home = env['SLUICE_HOME'];
  if (home === undefined || home === '') return systemHome ?? resolve('.sluice');
  return home.startsWith('~/') ? join(homedir(), home.slice(2)) : resolve(home);
}

/**
 * Where the sockets lie: `run` in the home, or, where that path is too long for a unix socket, a directory of
 * this user's in the temporary directory, found again by the hash of the home.
 */
function runDirectory(home: string): string {
  const inHome = join(home, 'run');
  const longest = Buffer.byteLength(join(inHome, 'orphans.sock'));
  if (longest <= maxSocketPath) return inHome;
  const hash = createHash('sha256').update(home).digest('hex').slice(0, 12);
  return join(tmpdir(), `sluice-${userInfo().uid}-${hash}`);
}

/** All environments of all apps that have a directory, by name, whatever is in it. */
export async function listEnvironments(paths: Paths): Promise<EnvironmentId[]> {
  const found: EnvironmentId[] = [];
  // Anything else there, such as an app's repository, has a name that no app or environment can have.
  for (const app of (await listDirectory(paths.apps)).filter(isName).sort()) {
    for (const environment of (await listDirectory(paths.app(app))).filter(isName).sort()) {
      found.push({ app, environment });
    }
  }
  return found;
}

/**
 * Makes sure that the sockets lie where nobody else can put theirs. In the home they do; in the temporary directory
 * anybody may have made that directory before us. One that is not there yet is fine.
 * @throws AppError `path_too_long`
 */
export async function checkRunDirectory({ home, run }: Paths): Promise<void> {
  if (run === join(home, 'run')) return;
  const stats = await ifThere(lstat(run));
  if (stats === undefined) return;
  const isOurs = stats.isDirectory() && stats.uid === process.getuid?.() && (stats.mode & 0o077) === 0;
  if (isOurs) return;
  throw new AppError('path_too_long', `${run}, where the sockets of ${home} are to lie, is open to others`, {
    hint: 'Remove it if you know whose it is, or set SLUICE_HOME to a shorter path: the sockets then lie in there.',
  });
}
