import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { systemCode } from '../../../src/errors/app-error.ts';
import { exists } from '../../../src/system/fs/exists.ts';
import { waitFor } from '../../support/wait.ts';
import { run } from './command.ts';

/**
 * A guest's own cgroup in each hierarchy of this machine, for one boot: no process may join one that systemd-nspawn has
 * split. Where systemd runs here, it gives us a scope instead.
 */
export class Cgroups {
  readonly #directories: string[];
  readonly #scope: string[] | undefined;

  private constructor(directories: string[], scope?: string[]) {
    this.#directories = directories;
    this.#scope = scope;
  }

  /** @param memory a limit in bytes for all of the guest */
  static async create(name: string, memory?: number): Promise<Cgroups> {
    if (await exists('/run/systemd/system')) {
      const limit = memory === undefined ? [] : ['--property', `MemoryMax=${memory}`];
      const unit = ['--scope', '--quiet', '--collect', `--unit=${name}`, '--property=Delegate=yes'];
      return new Cgroups([], ['systemd-run', ...unit, ...limit]);
    }
    const cgroups = new Cgroups(await directories(name));
    for (const directory of cgroups.#directories) {
      await passOn(dirname(directory));
      await mkdir(directory);
    }
    if (memory !== undefined) await cgroups.#limit(memory);
    return cgroups;
  }

  /** Arguments that start a program in them, to be followed by the program. */
  get starter(): string[] {
    if (this.#scope !== undefined) return this.#scope;
    const enter = 'while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs"; shift; done; shift; exec "$@"';
    return ['sh', '-ec', enter, 'sh', ...this.#directories, '--'];
  }

  /** The guest has ended. */
  async remove(): Promise<void> {
    for (const directory of this.#directories) await removeTree(directory);
  }

  async #limit(memory: number): Promise<void> {
    const files = this.#directories.flatMap((directory) => [
      join(directory, 'memory.max'),
      join(directory, 'memory.limit_in_bytes'),
    ]);
    for (const file of files) if (await exists(file)) return await writeFile(file, String(memory));
    throw new Error('this machine has no cgroup that could limit the memory of a guest');
  }
}

/** Ends what still runs in those of a guest, and takes them away. */
export async function removeCgroups(guest: string): Promise<void> {
  for (const directory of await directories('')) {
    const names = await readdir(directory);
    for (const name of names.filter((each) => each.startsWith(`${guest}-`))) {
      await killTree(join(directory, name));
      await removeTree(join(directory, name));
    }
  }
}

/** The line `4:memory:/mine` is the hierarchy of the controller memory, `0::/mine` that of cgroup v2. */
async function directories(name: string): Promise<string[]> {
  const mounts = (await run('findmnt', ['-rnt', 'cgroup,cgroup2', '-o', 'TARGET,FSTYPE,OPTIONS']))
    .split('\n')
    .map((line) => line.split(' '));
  const found: string[] = [];
  for (const line of (await readFile('/proc/self/cgroup', 'utf8')).trim().split('\n')) {
    const [, controllers = '', path = ''] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    // One is made unusable by what it lacks until cpus are given to it.
    if (controllers.includes('cpuset')) continue;
    const [mount] =
      mounts.find(([, type = '', options = '']) =>
        controllers === ''
          ? type === 'cgroup2'
          : type === 'cgroup' && options.split(',').includes(controllers),
      ) ?? [];
    if (mount === undefined) continue;
    const directory = join(mount, path, name);
    found.push(directory);
  }
  return found;
}

/** Lets cgroups below have the controllers that this one has, as far as the kernel lets us: not where it has processes. */
async function passOn(directory: string): Promise<void> {
  if (!(await exists(join(directory, 'cgroup.controllers')))) return;
  const controllers = (await readFile(join(directory, 'cgroup.controllers'), 'utf8')).split(/\s+/);
  for (const controller of controllers.filter((name) => name !== ''))
    await writeFile(join(directory, 'cgroup.subtree_control'), `+${controller}`).catch((error) => {
      if (!['EBUSY', 'EINVAL', 'EOPNOTSUPP', 'EACCES'].includes(systemCode(error) ?? '')) throw error;
    });
}

async function killTree(directory: string): Promise<void> {
  for (const file of await readdir(directory, { recursive: true })) {
    if (basename(file) !== 'cgroup.procs') continue;
    for (const pid of (await readFile(join(directory, file), 'utf8')).split('\n'))
      if (pid !== '') killIfThere(Number(pid));
  }
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (systemCode(error) !== 'ESRCH') throw error;
  }
}

/** The kernel lets go of processes that have ended in its own time. */
async function removeTree(directory: string): Promise<void> {
  if (!(await exists(directory))) return;
  for (const entry of await readdir(directory, { withFileTypes: true }))
    if (entry.isDirectory()) await removeTree(join(directory, entry.name));
  const removed = () =>
    rmdir(directory).then(
      () => true,
      (error) => {
        if (systemCode(error) === 'ENOENT') return true;
        if (systemCode(error) === 'EBUSY') return false;
        throw error;
      },
    );
  await waitFor(removed, { what: `the end of all processes in ${directory}` });
}
