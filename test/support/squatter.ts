import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { waitFor } from './wait.ts';

/** Id of a user that is neither root nor a user who runs tests. */
export const otherUser = 65_534;

/** Another user who tries to listen on a port, again and again. */
export class Squatter {
  readonly got: string[] = [];
  #rounds = 0;

  static async start(t: Pick<TestContext, 'after'>, port: number, uid = otherUser): Promise<Squatter> {
    const squatter = new Squatter();
    const program = fileURLToPath(new URL('squatter.pl', import.meta.url));
    const child = spawn('/usr/bin/perl', [program, String(uid), String(port)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    t.after(() => child.kill('SIGKILL'));
    createInterface(child.stdout).on('line', (line) => {
      if (line === 'round') squatter.#rounds += 1;
      else squatter.got.push(line);
    });
    await squatter.rounds(1);
    return squatter;
  }

  /** Waits until it has tried everything so many times more. */
  async rounds(count: number): Promise<void> {
    const until = this.#rounds + count + 1;
    await waitFor(() => this.#rounds >= until, { what: 'a round of tries' });
  }
}
