import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { temporaryDirectory } from '../../support/temporary.ts';
import { attempt, type CommandOptions, type CommandResult, run } from './command.ts';
import { Network } from './network.ts';

let count = 0;

/** A developer's machine: a network and a home of its own, with a key for ssh; its programs are those of this machine. */
export class Laptop {
  readonly home: string;
  readonly #network: Network;

  private constructor(home: string, network: Network) {
    this.home = home;
    this.#network = network;
  }

  static async create(t: Pick<TestContext, 'after'>): Promise<Laptop> {
    const network = await Network.create(`sluice-laptop-${process.pid}-${++count}`);
    t.after(() => network.remove());
    const laptop = new Laptop(await temporaryDirectory(t), network);
    await laptop.#makeKey();
    return laptop;
  }

  /** The line that the server is to be given. */
  publicKey(): Promise<string> {
    return readFile(join(this.home, 'id_ed25519.pub'), 'utf8');
  }

  /** Runs a script in its home. @returns what it printed, both streams @throws where it fails */
  async exec(script: string): Promise<string> {
    const { code, stdout, stderr } = await this.try(script);
    if (code !== 0) throw new Error(`on the laptop, ${script}\nended with ${code}:\n${stdout}${stderr}`);
    return stdout + stderr;
  }

  try(script: string, options: CommandOptions = {}): Promise<CommandResult> {
    const [program = '', ...args] = this.command('sh', '-ec', script);
    return attempt(program, args, { cwd: this.home, timeout: 120_000, ...options, env: this.env });
  }

  /** How a program is run on it. */
  command(...program: string[]): string[] {
    return [...Network.enter(this.#network.name), ...program];
  }

  get env(): Record<string, string> {
    return {
      PATH: process.env['PATH'] ?? '',
      HOME: this.home,
      GIT_CONFIG_NOSYSTEM: '1',
      GIT_TERMINAL_PROMPT: '0',
      GIT_SSH_COMMAND: `ssh -F ${join(this.home, 'ssh_config')}`,
      GIT_AUTHOR_NAME: 'Ann',
      GIT_AUTHOR_EMAIL: 'ann@example.com',
      GIT_COMMITTER_NAME: 'Ann',
      GIT_COMMITTER_EMAIL: 'ann@example.com',
      LC_ALL: 'C.UTF-8',
    };
  }

  async #makeKey(): Promise<void> {
    const key = join(this.home, 'id_ed25519');
    await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key]);
    // ssh looks for its files in the home of the account, whatever HOME says.
    const settings = {
      IdentityFile: key,
      IdentitiesOnly: 'yes',
      UserKnownHostsFile: join(this.home, 'known_hosts'),
      StrictHostKeyChecking: 'accept-new',
      BatchMode: 'yes',
    };
    const lines = Object.entries(settings).map(([name, value]) => `${name} ${value}\n`);
    await writeFile(join(this.home, 'ssh_config'), lines.join(''));
  }
}
