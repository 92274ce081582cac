import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { mkdtemp, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { TestContext } from 'node:test';
import { promisify } from 'node:util';
import { removeDirectory } from './temporary.ts';

const run = promisify(execFile);

/** Process of PM2, from `pm2 jlist`. */
export interface Pm2Process {
  name: string;
  pid: number;
  mode: 'cluster' | 'fork';
  isOnline: boolean;
  /** milliseconds since its start */
  age: number;
  restarts: number;
  /** number among the processes of its name, and the variable with it */
  instance: string;
  instanceVar: string;
  /** variables of the configuration file */
  variables: Record<string, string>;
}

/** Returns why this machine cannot run PM2 in a network of its own; undefined if it can. */
export function whyNoPm2(): string | undefined {
  const { status, stderr } = spawnSync('unshare', [...unshared, 'true'], { encoding: 'utf8' });
  return status === 0 ? undefined : `no network namespace: ${stderr?.trim()}`;
}

/** Installs PM2 7 from the npm registry into a directory. @returns the path of its program */
export async function installPm2(directory: string): Promise<string> {
  const quietly = ['--no-audit', '--no-fund', '--prefix', directory];
  await run('npm', ['install', ...quietly, 'pm2@7'], { cwd: directory });
  return join(directory, 'node_modules/pm2/bin/pm2');
}

const isRoot = process.getuid?.() === 0;
const unshared = [
  ...(isRoot ? [] : ['--map-root-user']),
  '--net',
  'sh',
  '-c',
  'ip link set lo up && exec "$@"',
  'sh',
];

/**
 * Daemon of a real PM2 with a home and a network of its own, so that apps may listen on any port. All that it has started is
 * gone after the test.
 */
export class Pm2 {
  readonly #program: string;
  readonly #node: string;
  readonly #home: string;

  private constructor(program: string, node: string, home: string) {
    this.#program = program;
    this.#node = node;
    this.#home = home;
  }

  /** @param program path of PM2 @param node path of the Node.js that runs PM2 and the apps */
  static async start(t: Pick<TestContext, 'after'>, program: string, node: string): Promise<Pm2> {
    const pm2 = new Pm2(program, node, await mkdtemp(join(tmpdir(), 'sluice-test-')));
    t.after(async () => {
      await pm2.call(['kill'], pm2.#home);
      await removeDirectory(pm2.#home);
    });
    await pm2.call(['ping'], pm2.#home, ['unshare', ...unshared]);
    return pm2;
  }

  /** Runs a command of PM2. @returns what it printed. @throws Error with its output if it failed */
  async call(args: string[], directory: string, prefix: string[] = []): Promise<string> {
    const [program = '', ...rest] = [...prefix, this.#node, this.#program, ...args];
    const { stdout } = await run(program, rest, {
      cwd: directory,
      env: this.#env,
      maxBuffer: 64 * 1024 * 1024,
    });
    return stdout;
  }

  get #env(): Record<string, string> {
    const PATH = `${dirname(this.#node)}:${process.env['PATH'] ?? ''}`;
    return { PATH, HOME: this.#home, PM2_HOME: this.#home };
  }

  async list(): Promise<Pm2Process[]> {
    const output = await this.call(['jlist', '--silent'], this.#home);
    const listed: Listed[] = JSON.parse(output.slice(output.indexOf('[{')));
    return listed.map(({ name, pid, pm2_env: env }) => ({
      name,
      pid,
      mode: env.exec_mode === 'cluster_mode' ? 'cluster' : 'fork',
      isOnline: env.status === 'online',
      age: Date.now() - env.pm_uptime,
      restarts: env.restart_time,
      instance: String(env[env.instance_var]),
      instanceVar: env.instance_var,
      variables: this.#ofFile(name, env.env),
    }));
  }

  /** Returns the variables that come from neither the environment nor PM2 itself. */
  #ofFile(name: string, env: Record<string, unknown>): Record<string, string> {
    const inherited = this.#env;
    const own = Object.entries(env).filter(
      ([key, value]) =>
        inherited[key] !== value && key !== name && key !== 'unique_id' && !key.startsWith('PM2_'),
    );
    return Object.fromEntries(own.map(([key, value]) => [key, String(value)]));
  }

  /** Returns the names of the apps that PM2 had to kill, from its log. */
  async killed(): Promise<string[]> {
    const log = await readFile(join(this.#home, 'pm2.log'), 'utf8');
    const ends = log.matchAll(/App \[(.*):\d+\] exited with code \[\d+\] via signal \[SIGKILL\]/g);
    return [...new Set([...ends].map(([, name = '']) => name))];
  }

  /** Returns the output of all apps. */
  async output(): Promise<string> {
    return await this.call(['logs', '--nostream', '--lines', '50', '--raw'], this.#home);
  }

  /** Returns the TCP ports on which the apps listen, ascending. */
  async ports(): Promise<number[]> {
    const daemon = await this.#daemon();
    const tables = ['tcp', 'tcp6'].map((name) => readFile(`/proc/${daemon}/net/${name}`, 'utf8'));
    const rows = (await Promise.all(tables)).flatMap((table) => table.trim().split('\n').slice(1));
    const listening = rows.map((row) => row.trim().split(/\s+/)).filter(([, , , state]) => state === '0A');
    const ports = listening.map(([, local = '']) => Number.parseInt(local.split(':')[1] ?? '', 16));
    return [...new Set(ports)].sort((a, b) => a - b);
  }

  /** Returns the answer of an app. @throws Error if there is none */
  async get(port: number, path: string): Promise<Answer> {
    const credentials = isRoot ? [] : ['--user', '--preserve-credentials'];
    const namespaces = ['--target', String(await this.#daemon()), '--net', ...credentials];
    const program = [process.execPath, '--input-type=module', '--eval', ask];
    const url = `http://localhost:${port}${path}`;
    const { stdout } = await run('nsenter', [...namespaces, ...program, url]);
    return JSON.parse(stdout);
  }

  async #daemon(): Promise<number> {
    const pid = Number(await readFile(join(this.#home, 'pm2.pid'), 'utf8'));
    assert.ok(pid > 0, 'PM2 has no process');
    return pid;
  }
}

/** Answer of an app to a request. */
export interface Answer {
  status: number;
  text: string;
}

/** Part of an entry of `pm2 jlist`. */
interface Listed {
  name: string;
  pid: number;
  pm2_env: {
    exec_mode: string;
    status: string;
    pm_uptime: number;
    restart_time: number;
    instance_var: string;
    env: Record<string, unknown>;
    [name: string]: unknown;
  };
}

const ask = `
const answer = await fetch(process.argv[1], { redirect: 'manual', signal: AbortSignal.timeout(10_000) });
process.stdout.write(JSON.stringify({ status: answer.status, text: await answer.text() }));
`;
