import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { signalProcess } from '../../../src/system/process/processes.ts';
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
    t.after(async () => {
      // A tunnel goes on in the background.
      for (const pid of (await run('ip', ['netns', 'pids', network.name])).trim().split('\n'))
        if (pid !== '') signalProcess(Number(pid), 'SIGKILL');
      await network.remove();
    });
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

  /**
   * Runs a script at a terminal, and answers what it asks.
   * @param answers what to type, by the question that it answers
   * @returns all that the terminal shows, with `\n` at the end of a line @throws where the script fails
   */
  async type(script: string, answers: Record<string, string>, timeout = 120_000): Promise<string> {
    // A developer's terminal stays open. This one ends with the script, and must not end a tunnel in the background.
    const quoted = `sh -ec 'trap "" HUP; ${script.replaceAll("'", "'\\''")}'`;
    const [program = '', ...args] = this.command(
      'script',
      '--quiet',
      '--return',
      '--command',
      quoted,
      '/dev/null',
    );
    const child = spawn(program, args, { cwd: this.home, env: this.env, stdio: 'pipe', timeout });
    let shown = '';
    let answered = 0;
    const read = (chunk: string) => {
      shown += chunk;
      for (const [question, answer] of Object.entries(answers)) {
        const at = shown.indexOf(question, answered);
        if (at === -1) continue;
        answered = at + question.length;
        child.stdin.write(`${answer}\n`);
      }
    };
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', read);
    const [code] = await once(child, 'close');
    shown = shown.replaceAll('\r\n', '\n');
    if (code !== 0) throw new Error(`on the laptop, ${script}\nended with ${code}:\n${shown}`);
    return shown;
  }

  /** Returns the command that runs a program on the laptop. */
  command(...program: string[]): string[] {
    return [...Network.enter(this.#network.name), ...program];
  }

  get env(): Record<string, string> {
    return {
      PATH: `${join(this.home, 'bin')}:${process.env['PATH'] ?? ''}`,
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
    await mkdir(join(this.home, '.ssh'));
    await copyFile(`${key}.pub`, join(this.home, '.ssh/id_ed25519.pub'));
    await mkdir(join(this.home, 'bin'));
    const ssh = join(this.home, 'bin/ssh');
    await writeFile(ssh, `#!/bin/sh\nexec /usr/bin/ssh -F '${join(this.home, 'ssh_config')}' "$@"\n`);
    await chmod(ssh, 0o755);
  }
}
