import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { waitFor } from './wait.ts';

const script = fileURLToPath(new URL('../../src/runner/one-off/terminal.pl', import.meta.url));

/** Program in a terminal of its own, as a person would run it. */
export class Terminal {
  /** all that the terminal has shown */
  shown = '';
  /** exit status of the program */
  readonly ended: Promise<number | null>;
  readonly #input: Writable;
  readonly #control: Writable;

  /** @param size rows and columns */
  constructor(
    t: Pick<TestContext, 'after'>,
    command: string[],
    { env = {}, size = '24 80' }: { env?: Record<string, string>; size?: string } = {},
  ) {
    const child = spawn('/usr/bin/perl', [script, ...size.split(' '), ...command], {
      env: { PATH: process.env['PATH'] ?? '', HOME: '/nonexistent', TERM: 'xterm-256color', ...env },
      stdio: ['pipe', 'pipe', 'inherit', 'pipe'],
      detached: true,
    });
    const [input, output, , control] = child.stdio as unknown as [Writable, Readable, null, Writable];
    this.#input = input;
    this.#control = control;
    for (const stream of [input, control]) stream.on('error', () => undefined);
    output.setEncoding('utf8').on('data', (text: string) => {
      this.shown += text;
    });
    this.ended = once(child, 'close').then(([code]) => code as number | null);
    t.after(() => control.destroy());
  }

  type(keys: string): void {
    this.#input.write(keys);
  }

  resize(rows: number, columns: number): void {
    this.#control.write(`${rows} ${columns}\n`);
  }

  /** Closes the window. */
  close(): void {
    this.#control.destroy();
  }

  /** Waits until the terminal has shown a text. */
  async until(pattern: RegExp): Promise<void> {
    await waitFor(() => pattern.test(this.shown), { what: `${pattern} in ${JSON.stringify(this.shown)}` });
  }
}
