import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { lockOf } from '../../src/runner/users/host.ts';
import { writeJsonAtomic } from '../../src/system/fs/files.ts';
import { firstPort } from './free-port.ts';
import { Sluice } from './server.ts';
import { removeDirectory } from './temporary.ts';
import { waitFor } from './wait.ts';

const run = promisify(execFile);
const entry = fileURLToPath(new URL('../../src/runner/main.ts', import.meta.url));

/** Why these tests are left out, where they are. */
export const withoutRoot =
  process.getuid?.() === 0 ? false : 'only root can start a runner that gives each app a user of its own';

/** All that the runner's unit leaves it of what root may do: see config/systemd. */
const capabilities = ['setuid', 'setgid', 'kill', 'chown', 'dac_override', 'fowner', 'net_bind_service'].map(
  (name) => `+${name}`,
);

let made = 0;

/**
 * An appliance as it is installed: a server without privileges and a runner that is root, with users of its own, whose
 * names begin as no other's do. They are gone after the test, with all that they ran.
 */
export class Isolated {
  readonly owner: string;
  readonly sluice: Sluice;
  readonly #ids: { uid: number; gid: number };
  runner!: ChildProcess;
  output = '';

  private constructor(owner: string, home: string, ids: { uid: number; gid: number }) {
    this.owner = owner;
    this.sluice = new Sluice(home, { as: ids });
    this.#ids = ids;
  }

  /** @param before what there is to be done in the home while nothing of it is up */
  static async start(
    t: Pick<TestContext, 'after'>,
    before: (sluice: Sluice, asServer: Isolated['asServer']) => Promise<void> = async () => undefined,
  ): Promise<Isolated> {
    made += 1;
    const owner = `slt${process.pid.toString(36)}${made}`;
    const home = await mkdtemp(join(tmpdir(), 'sluice-test-'));
    await run('useradd', ['--system', '--user-group', '--no-create-home', '--home-dir', home, owner]);
    const isolated = new Isolated(owner, home, await idsOf(owner));
    t.after(() => isolated.#end());
    await chown(home, isolated.uid, isolated.#ids.gid);
    await chmod(home, 0o711);
    const { settings } = isolated.sluice.paths;
    await writeJsonAtomic(settings, {
      listen: { port: 0 },
      apps: { firstPort: await firstPort() },
      ssh: { authorizedKeys: join(home, '.ssh/authorized_keys') },
    });
    await chown(settings, isolated.uid, isolated.#ids.gid);
    await before(isolated.sluice, (...args) => isolated.asServer(...args));
    await isolated.startRunner();
    await isolated.sluice.up({ HOME: home });
    return isolated;
  }

  get uid(): number {
    return this.#ids.uid;
  }
  get gid(): number {
    return this.#ids.gid;
  }

  async startRunner(): Promise<void> {
    this.output = '';
    const limits = ['--no-new-privs', `--bounding-set=${['-all', ...capabilities].join(',')}`];
    const child = spawn('setpriv', [...limits, process.execPath, entry], {
      env: { PATH: process.env['PATH'] ?? '', SLUICE_HOME: this.sluice.home },
      cwd: '/',
      stdio: ['ignore', 'ignore', 'pipe'],
      detached: true,
    });
    this.runner = child;
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.output += text;
    });
    await waitFor(
      () => {
        if (child.exitCode !== null) throw new Error(`the runner ended: ${this.output}`);
        return this.output.includes('"ready"');
      },
      { what: 'the runner' },
    );
  }

  async killRunner(): Promise<void> {
    this.runner.kill('SIGKILL');
    await once(this.runner, 'exit');
  }

  /** Runs a script with the server's rights, as whoever has taken it over would. */
  async asServer(script: string, ...args: string[]): Promise<void> {
    await run('/bin/sh', ['-c', `set -e; ${script}`, 'sh', ...args], { cwd: '/', ...this.#ids });
  }

  /** The system users of apps, by name. */
  async users(): Promise<string[]> {
    const names = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':')[0] ?? '');
    return names.filter((name) => name.startsWith(`${this.owner}_`)).sort();
  }

  async #end(): Promise<void> {
    await this.sluice.end();
    const over = this.runner.exitCode !== null || this.runner.signalCode !== null;
    if (!over) {
      this.runner.kill('SIGTERM');
      await once(this.runner, 'exit');
    }
    for (const name of [...(await this.users()), this.owner]) {
      await run('/bin/sh', ['-c', 'kill -s KILL -- -1 2> /dev/null || :'], {
        cwd: '/',
        ...(await idsOf(name)),
      });
      await waitFor(
        () =>
          run('userdel', [name]).then(
            () => true,
            () => false,
          ),
        { what: `the end of ${name}` },
      );
    }
    await rm(lockOf(this.sluice.home), { force: true });
    await removeDirectory(this.sluice.home);
  }
}

export async function idsOf(name: string): Promise<{ uid: number; gid: number }> {
  const { stdout } = await run('getent', ['passwd', name]);
  const [, , uid, gid] = stdout.split(':');
  return { uid: Number(uid), gid: Number(gid) };
}
