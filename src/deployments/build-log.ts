import { createWriteStream, type WriteStream } from 'node:fs';
import { finished } from 'node:stream/promises';

/**
 * The log of one build. It keeps its file open, so that lines go on arriving when the release's directory is renamed.
 * A log that cannot be written is told once, and fails nothing.
 */
export class BuildLog {
  readonly #file: WriteStream;
  readonly #written: Promise<void>;
  /** written together: a line by itself would cost several times its own size for as long as it waits */
  #waiting = '';

  constructor(path: string, whenLost: (error: unknown) => void) {
    this.#file = createWriteStream(path, { flags: 'a', mode: 0o600 });
    this.#written = finished(this.#file).catch(whenLost);
  }

  write(line: string): void {
    if (this.#waiting === '') setImmediate(() => this.#flush());
    this.#waiting += `${line}\n`;
  }

  /** All lines are in the file when this returns. */
  async end(): Promise<void> {
    this.#flush();
    this.#file.end();
    await this.#written;
  }

  #flush(): void {
    if (this.#file.writable && this.#waiting !== '') this.#file.write(this.#waiting);
    this.#waiting = '';
  }
}
