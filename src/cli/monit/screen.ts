import { on } from 'node:events';
import type { ReadStream, WriteStream } from 'node:tty';

const escapeCharacter = '\u001b';
/** Another screen, without cursor and without line wrap, so that the terminal cuts long lines. */
const enter = `${escapeCharacter}[?1049h${escapeCharacter}[?25l${escapeCharacter}[?7l`;
const leave = `${escapeCharacter}[?7h${escapeCharacter}[?25h${escapeCharacter}[?1049l`;

export type Key = 'up' | 'down' | 'quit';

/** Keys by what a terminal sends for them. Ctrl-C sends no signal in raw mode. */
const keys: Record<string, Key> = {
  [`${escapeCharacter}[A`]: 'up',
  [`${escapeCharacter}OA`]: 'up',
  k: 'up',
  [`${escapeCharacter}[B`]: 'down',
  [`${escapeCharacter}OB`]: 'down',
  j: 'down',
  q: 'quit',
  '\u0003': 'quit',
};

/** Returns the known keys in a piece of input, such as two keys that were pressed soon after each other. */
export function keysOf(input: string): Key[] {
  const pattern = new RegExp(`${escapeCharacter}[[O][A-Z]|.`, 'gs');
  return (input.match(pattern) ?? []).flatMap((text) => keys[text] ?? []);
}

/** Whole screen of a terminal. Disposing of it restores what the screen showed before. */
export class Screen implements Disposable {
  readonly #input: ReadStream;
  readonly #output: WriteStream;

  constructor(input: ReadStream, output: WriteStream) {
    this.#input = input;
    this.#output = output;
    input.setRawMode(true);
    input.setEncoding('utf8');
    output.write(enter);
  }

  /** Number of lines; some terminals do not know theirs. */
  get rows(): number {
    return this.#output.rows || 24;
  }

  /** Shows lines from the top, in place of everything before. */
  draw(lines: string[]): void {
    const text = lines.map((line) => `${line}${escapeCharacter}[K`).join('\r\n');
    this.#output.write(`${escapeCharacter}[H${text}${escapeCharacter}[J`);
  }

  /** Yields keys as they are pressed, until the input or the signal ends. */
  async *keys(signal: AbortSignal): AsyncGenerator<Key> {
    try {
      for await (const [text] of on(this.#input, 'data', { signal, close: ['end', 'close'] }))
        yield* keysOf(text);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  /** Calls back when the size of the terminal changes. */
  onResize(resized: () => void): void {
    this.#output.on('resize', resized);
  }

  [Symbol.dispose](): void {
    this.#input.setRawMode(false);
    this.#input.pause();
    this.#output.write(leave);
  }
}
