import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { TestContext } from 'node:test';
import { temporaryDirectory } from './temporary.ts';
import { type Files, writeTree } from './tree.ts';
import { waitFor } from './wait.ts';

interface Told {
  code: number | null;
  /** what the command printed on both streams, without the `remote: ` of lines that came from the server */
  output: string;
}

/** A line, and when it came: Date.now(). */
interface Line {
  text: string;
  at: number;
}

/** Git as it runs, watched. */
export class RunningGit {
  readonly process: ChildProcess;
  readonly lines: Line[] = [];
  readonly ended: Promise<Told>;

  constructor(child: ChildProcess) {
    this.process = child;
    const streams = [child.stdout, child.stderr].filter((stream) => stream !== null);
    const read = streams.map(async (input) => {
      for await (const line of createInterface({ input })) {
        // Git fills up its own lines with spaces that erase what a progress bar may have left.
        const text = line
          .replace(/^remote: ?/, '')
          .replace(/ {8}$/, '')
          .trimEnd();
        this.lines.push({ text, at: Date.now() });
      }
    });
    this.ended = Promise.all([once(child, 'exit'), ...read]).then(([[code]]) => ({
      code,
      output: this.lines.map(({ text }) => `${text}\n`).join(''),
    }));
  }

  until(pattern: RegExp): Promise<Line> {
    return waitFor(() => this.lines.find(({ text }) => pattern.test(text)), {
      what: `a line like ${pattern}`,
    });
  }
}

/** A developer's repository, and the real git, with nothing of the tester's own settings. */
export class Checkout {
  readonly directory: string;
  readonly #env: Record<string, string>;

  private constructor(directory: string, env: Record<string, string>) {
    this.directory = directory;
    this.#env = env;
  }

  /** An empty one on branch main. @param env beside git's own, such as GIT_SSH_COMMAND */
  static async create(t: Pick<TestContext, 'after'>, env: Record<string, string> = {}): Promise<Checkout> {
    const checkout = new Checkout(await temporaryDirectory(t), env);
    await checkout.git('init', '--quiet', '--initial-branch=main');
    return checkout;
  }

  write(files: Files): Promise<void> {
    return writeTree(this.directory, files);
  }

  async link(path: string, target: string): Promise<void> {
    await symlink(target, join(this.directory, path));
  }

  async executable(path: string): Promise<void> {
    await chmod(join(this.directory, path), 0o755);
  }

  /** Writes files and commits all that is there. @returns the hash of the commit */
  async commit(message: string, files: Files = {}): Promise<string> {
    await this.write(files);
    await this.git('add', '--all');
    await this.git('commit', '--quiet', '--allow-empty', '--message', message);
    return this.head();
  }

  head(): Promise<string> {
    return this.git('rev-parse', 'HEAD');
  }

  /** Runs git. @returns its output. @throws Error with the output if git fails */
  async git(...args: string[]): Promise<string> {
    const { code, output } = await this.try(...args);
    if (code !== 0) throw new Error(`git ${args.join(' ')} ended with ${code}: ${output}`);
    return output.trim();
  }

  /** Runs git, whether or not it succeeds. */
  try(...args: string[]): Promise<Told> {
    return this.start(...args).ended;
  }

  start(...args: string[]): RunningGit {
    const child = spawn('git', args, {
      cwd: this.directory,
      env: { ...gitSettings, PATH: process.env['PATH'] ?? '', HOME: this.directory, ...this.#env },
      stdio: ['ignore', 'pipe', 'pipe'],
      // A process group of its own, so that a test can send it what Ctrl-C does.
      detached: true,
    });
    return new RunningGit(child);
  }
}

const gitSettings = {
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_TERMINAL_PROMPT: '0',
  // It would go on collecting garbage when it has ended, in a directory that is removed by then.
  GIT_CONFIG_COUNT: '1',
  GIT_CONFIG_KEY_0: 'gc.auto',
  GIT_CONFIG_VALUE_0: '0',
  GIT_AUTHOR_NAME: 'Ann',
  GIT_AUTHOR_EMAIL: 'ann@example.com',
  GIT_COMMITTER_NAME: 'Ann',
  GIT_COMMITTER_EMAIL: 'ann@example.com',
  LC_ALL: 'C.UTF-8',
};

/** Branches and what they point at, as a client of the server sees them. */
export async function remoteBranches(checkout: Checkout, url: string): Promise<Record<string, string>> {
  const output = await checkout.git('ls-remote', '--heads', url);
  const rows = output.split('\n').filter((line) => line !== '');
  return Object.fromEntries(
    rows.map((row) => {
      const [commit = '', ref = ''] = row.split('\t');
      return [ref.replace('refs/heads/', ''), commit];
    }),
  );
}
