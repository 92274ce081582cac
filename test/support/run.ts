import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { TestContext } from 'node:test';
import { sluiceBinary } from './cli.ts';
import type { Sluice } from './server.ts';
import { waitFor } from './wait.ts';

/** Running `sluice` with pipes. */
export class RunningCli {
  readonly child: ChildProcess;
  stdout = '';
  stderr = '';
  /** exit status, when all output has arrived */
  readonly ended: Promise<number | null>;

  constructor(t: Pick<TestContext, 'after'>, args: string[], env: Record<string, string>) {
    const { SLUICE_URL: _url, SLUICE_TOKEN: _token, SLUICE_HOME: _home, ...own } = process.env;
    const child = spawn(sluiceBinary, args, {
      env: { ...own, HOME: '/nonexistent', XDG_CONFIG_HOME: '', ...env },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.child = child;
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    child.stdin.on('error', () => undefined);
    this.ended = once(child, 'close').then(([code]) => code as number | null);
    t.after(() => child.kill('SIGKILL'));
  }

  write(text: string): void {
    this.child.stdin?.write(text);
  }

  end(text = ''): void {
    this.child.stdin?.end(text);
  }

  /** Waits until standard output has a text. */
  async until(pattern: RegExp): Promise<void> {
    await waitFor(() => pattern.test(this.stdout), {
      what: `${pattern} in ${JSON.stringify(this.stdout + this.stderr)}`,
    });
  }
}

/** Runs `sluice run shop`. */
export function sluiceRun(t: Pick<TestContext, 'after'>, sluice: Sluice, ...args: string[]): RunningCli {
  return new RunningCli(t, ['run', 'shop', ...args], { SLUICE_HOME: sluice.home });
}

/** Waits until no one-off command runs. */
export async function untilNoneRuns(sluice: Sluice): Promise<void> {
  await waitFor(async () => (await sluice.status('shop')).oneOffs.length === 0, {
    what: 'the end of all one-off commands',
  });
}
