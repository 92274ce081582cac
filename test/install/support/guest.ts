import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { waitFor } from '../../support/wait.ts';
import { cache, guestsDirectory, type Suite } from './cache.ts';
import { Cgroups } from './cgroups.ts';
import { attempt, type CommandOptions, type CommandResult, run } from './command.ts';
import { image } from './image.ts';
import { sweep } from './leftovers.ts';
import { Network } from './network.ts';
import { requireGuests } from './requirements.ts';

export interface GuestOptions {
  /** a limit for all of it, in bytes */
  memory?: number;
  /** directories that lie over the image, the last one on top */
  layers?: string[];
}

/** A test, or what stands for one. */
export interface Ending {
  after(end: () => Promise<void>): void;
  /** whether the test has succeeded, known at its end */
  passed?: boolean;
  diagnostic?(message: string): void;
}

const path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
let count = 0;

/**
 * A machine with Debian on it as a provider hands it over: systemd-nspawn boots a copy of an image, with systemd as its
 * first process and an address of its own. Kernel, clock and number of processors are those of this machine.
 */
export class Guest {
  readonly suite: Suite;
  readonly name: string;
  readonly #memory: number | undefined;
  readonly #network: Network;
  #boots = 0;
  #nspawn: ChildProcess | undefined;
  #cgroups: Cgroups | undefined;

  private constructor(suite: Suite, name: string, network: Network, memory?: number) {
    this.suite = suite;
    this.name = name;
    this.#network = network;
    this.#memory = memory;
  }

  /** Boots a fresh one, which is gone after the test. */
  static async boot(t: Ending, suite: Suite, { memory, layers = [] }: GuestOptions = {}): Promise<Guest> {
    await requireGuests();
    await sweep();
    const lower = [await image(suite), ...layers];
    const name = `sluice-${suite}-${process.pid}-${++count}`;
    const directory = join(guestsDirectory, name);
    for (const part of ['upper', 'work', 'root']) await mkdir(join(directory, part), { recursive: true });
    const guest = new Guest(suite, name, await Network.create(name), memory);
    t.after(async () => {
      if (t.passed === false) t.diagnostic?.(`${name}: what was logged is in ${await guest.saveJournal()}`);
      await guest.destroy();
    });
    const overlay = `lowerdir=${lower.toReversed().join(':')},upperdir=${guest.upper},workdir=${directory}/work`;
    await run('mount', ['-t', 'overlay', name, '-o', overlay, guest.root]);
    await guest.#personalise();
    await guest.start();
    return guest;
  }

  /** Returns the address of the guest for this machine and for other guests. */
  get address(): string {
    return this.#network.address;
  }

  /** Returns the address of this machine for the guest. */
  get host(): string {
    return this.#network.host;
  }

  /** Its root directory as it is seen from here. */
  get root(): string {
    return join(guestsDirectory, this.name, 'root');
  }

  /** Returns the directory with the files that the guest has written. */
  get upper(): string {
    return join(guestsDirectory, this.name, 'upper');
  }

  get console(): string {
    return join(guestsDirectory, this.name, 'console.log');
  }

  /** Runs a script as root. @returns what it printed @throws where it fails */
  async exec(script: string, options: CommandOptions = {}): Promise<string> {
    const { code, stdout, stderr } = await this.try(script, options);
    if (code !== 0) throw new Error(`in ${this.name}, ${script}\nended with ${code}:\n${stdout}${stderr}`);
    return stdout;
  }

  /** The same, whether or not it succeeds. `env` is given to it beside what every service has. */
  async try(script: string, { env = {}, ...options }: CommandOptions = {}): Promise<CommandResult> {
    const leader = await this.#leader();
    if (leader === undefined) throw new Error(`${this.name} does not run: ${this.console}`);
    const login = {
      HOME: '/root',
      USER: 'root',
      LOGNAME: 'root',
      SHELL: '/bin/bash',
      LANG: 'C.UTF-8',
      ...env,
    };
    const [program = '', ...args] = [
      ...enter(leader),
      // The guest's systemd starts it, in a cgroup and with limits as every service has; what it leaves running stays.
      ...['systemd-run', '--quiet', '--pipe', '--wait', '--collect', '--service-type=exec'],
      ...['--property=KillMode=process', '--working-directory=/root'],
      ...Object.entries(login).map(([name, value]) => `--setenv=${name}=${value}`),
      // It would take a $ for a variable of its own.
      ...['--', '/bin/sh', '-ec', script.replaceAll('$', () => '$$')],
    ];
    return attempt(program, args, { ...options, env: {} });
  }

  /** Copies a file of this machine's into it. */
  async copy(source: string, destination: string): Promise<void> {
    await run('cp', ['--no-preserve=ownership', source, join(this.root, destination)]);
  }

  async write(file: string, content: string | Buffer): Promise<void> {
    await mkdir(join(this.root, file, '..'), { recursive: true });
    await writeFile(join(this.root, file), content);
  }

  read(file: string): Promise<string> {
    return readFile(join(this.root, file), 'utf8');
  }

  /** @param hard as if the plug was pulled */
  async reboot({ hard = false } = {}): Promise<void> {
    if (hard) await this.kill();
    else await this.#shutDown('reboot');
    await this.start();
  }

  /** Pulls the plug. */
  async kill(): Promise<void> {
    const leader = await this.#leader();
    if (leader !== undefined) process.kill(leader, 'SIGKILL');
    else this.#nspawn?.kill('SIGKILL');
    await this.#ended();
  }

  async powerOff(): Promise<void> {
    await this.#shutDown('poweroff');
  }

  /** Boots it; it has been shut down, or was killed. */
  async start(): Promise<void> {
    const cgroups = await Cgroups.create(`${this.name}-${++this.#boots}`, this.#memory);
    const [program = '', ...args] = [
      ...cgroups.starter,
      // It must not outlive us for long: told so, it shuts the guest down.
      ...['setpriv', '--pdeathsig', 'TERM'],
      ...['systemd-nspawn', '--quiet', `--directory=${this.root}`, `--machine=${this.name}`],
      ...['--register=no', '--keep-unit', '--settings=no', '--console=read-only', '--kill-signal=SIGRTMIN+3'],
      ...['--resolv-conf=off', '--timezone=off', '--link-journal=no'],
      ...[`--network-namespace-path=/run/netns/${this.name}`, '--capability=CAP_NET_ADMIN'],
      ...['/bin/sh', '-c', handOver],
    ];
    const console = openSync(this.console, 'a');
    this.#cgroups = cgroups;
    this.#nspawn = spawn(program, args, {
      stdio: ['ignore', console, console],
      // /tmp as Debian has it; settings of the network can be changed
      env: { PATH: path, SYSTEMD_NSPAWN_TMPFS_TMP: '0', SYSTEMD_NSPAWN_API_VFS_WRITABLE: 'network' },
    });
    await waitFor(() => this.#isUp(), { timeout: 120_000, interval: 100, what: `the boot of ${this.name}` });
  }

  /** Lets go of its root directory; `upper` is then whole. It has been shut down for good. */
  async unmount(): Promise<void> {
    if ((await attempt('mountpoint', ['-q', this.root])).code === 0) await run('umount', [this.root]);
  }

  /** For whoever wants to know why a test has failed. @returns the file */
  async saveJournal(): Promise<string> {
    const file = join(cache, 'failed', `${this.name}.log`);
    await mkdir(dirname(file), { recursive: true });
    const runs = (await this.#leader()) !== undefined;
    const journal = runs ? await this.try('journalctl --no-pager -o short-precise') : { stdout: '' };
    await writeFile(file, `${await readFile(this.console, 'utf8')}\n${journal.stdout}`);
    return file;
  }

  async destroy(): Promise<void> {
    if (this.#nspawn?.exitCode === null && this.#nspawn.signalCode === null) await this.kill();
    await this.#network.remove();
    await this.unmount();
    await rm(join(guestsDirectory, this.name), { recursive: true });
  }

  /** Personalises the image, as a provider does for each machine. */
  async #personalise(): Promise<void> {
    await this.write('etc/hostname', `${this.name}\n`);
    await this.write('etc/hosts', `127.0.0.1 localhost\n::1 localhost\n127.0.1.1 ${this.name}\n`);
    await run('chroot', [this.root, 'ssh-keygen', '-A']);
  }

  async #shutDown(how: 'reboot' | 'poweroff'): Promise<void> {
    const leader = await this.#leader();
    if (leader === undefined) throw new Error(`${this.name} does not run: ${this.console}`);
    const [program = '', ...args] = [...enter(leader), 'systemctl', how];
    // The guest may be gone before its systemctl has an answer.
    await attempt(program, args, { env: {} });
    await this.#ended();
  }

  async #ended(): Promise<void> {
    const child = this.#nspawn;
    if (child?.exitCode === null && child.signalCode === null)
      await Promise.race([once(child, 'exit'), late(120_000, `the end of ${this.name}`)]);
    await this.#cgroups?.remove();
    this.#cgroups = undefined;
  }

  async #isUp(): Promise<boolean> {
    if (this.#nspawn?.exitCode !== null)
      throw new Error(`${this.name} does not boot:\n${await readFile(this.console, 'utf8')}`);
    const leader = await this.#leader();
    if (leader === undefined) return false;
    const [program = '', ...args] = [...enter(leader), 'systemctl', 'is-system-running'];
    const { stdout } = await attempt(program, args, { env: {}, timeout: 30_000 });
    return /^(?:running|degraded)$/.test(stdout.trim());
  }

  /** Its first process, as this machine sees it. */
  async #leader(): Promise<number | undefined> {
    const nspawn = this.#nspawn?.pid;
    if (nspawn === undefined) return undefined;
    for (const child of (await proc(`${nspawn}/task/${nspawn}/children`)).split(' '))
      if (/^NSpid:.*\t1$/m.test(await proc(`${child}/status`))) return Number(child);
    return undefined;
  }
}

/**
 * On a machine that still has controllers of cgroup v1, systemd-nspawn hands them over read-only. Those that are the
 * guest's own are made its own, or its services would have no limits.
 */
const handOver = `
  for controller in /sys/fs/cgroup/*/; do
    [ -e "$controller/tasks" ] || continue
    case $controller in */cpuset/) continue ;; esac
    mount -o remount,bind,rw,nosuid,nodev,noexec "$controller" || :
  done
  exec /sbin/init`;

/** Arguments that run a program in all namespaces of a process, with nothing of our environment. */
function enter(leader: number): string[] {
  return [
    '/usr/bin/nsenter',
    '-t',
    String(leader),
    '-m',
    '-p',
    '-n',
    '-i',
    '-u',
    '-C',
    '/usr/bin/env',
    '-i',
    `PATH=${path}`,
  ];
}

/** A file of /proc; nothing where the process is gone. */
async function proc(file: string): Promise<string> {
  return await readFile(join('/proc', file), 'utf8').catch(() => '');
}

async function late(timeout: number, what: string): Promise<never> {
  await new Promise((resolve) => setTimeout(resolve, timeout).unref());
  throw new Error(`${what} did not come about within ${timeout} ms`);
}
