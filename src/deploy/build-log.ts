import { createWriteStream, type WriteStream } from 'node:fs';
import { finished } from 'node:stream/promises';
import { formatBytes } from '../system/text/format.ts';

/** What one build may put into its log, in bytes: one that prints without end must not fill the disk. */
const maxOutput = 32 * 1024 ** 2;

/**
 * The log of one build. It keeps its file open, so that lines go on arriving when the release's directory is renamed.
 * A log that cannot be written is told once, and fails nothing.
 */
export class BuildLog {
  readonly #file: WriteStream;
  readonly #written: Promise<void>;
  /** written together: a line by itself would cost several times its own size for as long as it waits */
  #waiting = '';
  #output = 0;

  constructor(path: string, whenLost: (error: unknown) => void) {
    this.#file = createWriteStream(path, { flags: 'a', mode: 0o600 });
    this.#written = finished(this.#file).catch(whenLost);
  }

  /** For what the build and the app print: left out where there has been too much of it. */
  offer(line: string): void {
    if (this.#output > maxOutput) return;
    this.#output += Buffer.byteLength(line) + 1;
    this.write(line);
    if (this.#output > maxOutput) {
      this.write(`… what else is printed is left out here: it is more than ${formatBytes(maxOutput)}`);
    }
  }

  /** For what must be in it. */
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
