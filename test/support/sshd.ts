import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { promisify } from 'node:util';
import { freePort } from './free-port.ts';
import { temporaryDirectory } from './temporary.ts';
import { waitFor } from './wait.ts';

const run = promisify(execFile);

/** A real sshd on the loopback, for the user that the tests run as. */
export class Sshd {
  readonly directory: string;
  readonly port: number;

  private constructor(directory: string, port: number) {
    this.directory = directory;
    this.port = port;
  }

  /** @param authorizedKeys the file in which it looks for keys */
  static async start(t: Pick<TestContext, 'after'>, authorizedKeys: string): Promise<Sshd> {
    const sshd = new Sshd(await temporaryDirectory(t), await freePort());
    await sshd.makeKey('host');
    const config = join(sshd.directory, 'config');
    await writeFile(
      config,
      `ListenAddress 127.0.0.1:${sshd.port}
       HostKey ${join(sshd.directory, 'host')}
       PidFile none
       AuthorizedKeysFile ${authorizedKeys}
       # The temporary directory may be written by everybody, which sshd does not like.
       StrictModes no
       UsePAM no
       PasswordAuthentication no
       KbdInteractiveAuthentication no
       MaxStartups 100
       AcceptEnv GIT_PROTOCOL`,
    );
    // Where root starts it, it wants this for what it does before a key has been accepted.
    if (process.getuid?.() === 0) await mkdir('/run/sshd', { recursive: true, mode: 0o755 });
    // sshd starts itself anew for each connection, and insists on an absolute path for that.
    const child = spawn('/usr/sbin/sshd', ['-D', '-e', '-f', config], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    t.after(async () => {
      if (child.exitCode !== null) return;
      child.kill();
      await once(child, 'exit');
    });
    let log = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      log += text;
    });
    await waitFor(() => log.includes('Server listening') || (child.exitCode !== null && 'ended'), {
      what: 'sshd',
    });
    if (child.exitCode !== null) throw new Error(`sshd ended with ${child.exitCode}: ${log}`);
    return sshd;
  }

  /** Makes a pair of keys. @returns the public one */
  async makeKey(name: string): Promise<string> {
    const file = join(this.directory, name);
    await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', `${name}@test`, '-f', file]);
    return readFile(`${file}.pub`, 'utf8');
  }

  /** Returns the ssh command for git. @param key name of a key; without it, ssh offers none */
  command(key?: string): string {
    const options = [
      ['-F', '/dev/null'],
      ['-o', 'BatchMode=yes'],
      ['-o', 'StrictHostKeyChecking=no'],
      ['-o', 'UserKnownHostsFile=/dev/null'],
      ['-o', 'LogLevel=ERROR'],
      ['-o', 'IdentitiesOnly=yes'],
      key === undefined ? ['-o', 'PubkeyAuthentication=no'] : ['-i', join(this.directory, key)],
    ];
    return ['ssh', ...options.flat()].join(' ');
  }

  url(path: string): string {
    return `ssh://${userInfo().username}@127.0.0.1:${this.port}/${path}`;
  }

  /** Runs a command over ssh, as somebody who looks for a shell. */
  async run(
    key: string,
    ...command: string[]
  ): Promise<{ code: number | null; stderr: string; stdout: string }> {
    const [ssh = '', ...options] = this.command(key).split(' ');
    const address = ['-p', String(this.port), `${userInfo().username}@127.0.0.1`];
    const child = spawn(ssh, [...options, ...address, ...command], { stdio: ['ignore', 'pipe', 'pipe'] });
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (text) => {
      stdout += text;
    });
    child.stderr.on('data', (text) => {
      stderr += text;
    });
    const [code] = await once(child, 'close');
    return { code, stdout, stderr };
  }
}
