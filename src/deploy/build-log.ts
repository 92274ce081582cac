import { createWriteStream, type WriteStream } from 'node:fs';
import { finished } from 'node:stream/promises';
import { formatBytes } from '../system/text/format.ts';

/** Limit of a build's output in its log, in bytes: a build that prints without end must not fill the disk. */
const maxOutput = 32 * 1024 ** 2;

/**
 * Log of one build. Keeps its file open, because the directory of the release is renamed. If the log cannot be written,
 * the error is reported once, and the build continues.
 */
export class BuildLog {
  readonly #file: WriteStream;
  readonly #written: Promise<void>;
  /** lines that are written together: each waiting write takes several times the memory of a short line */
  #pending = '';
  #output = 0;

  constructor(path: string, onLost: (error: unknown) => void) {
    this.#file = createWriteStream(path, { flags: 'a', mode: 0o600 });
    this.#written = finished(this.#file).catch(onLost);
  }

  /** Writes a line of output, unless the output has exceeded its limit. */
  offer(line: string): void {
    if (this.#output > maxOutput) return;
    this.#output += Buffer.byteLength(line) + 1;
    this.write(line);
    if (this.#output > maxOutput) {
      this.write(`… more output is left out: a build log has at most ${formatBytes(maxOutput)}`);
    }
  }

  /** Writes a line, whatever the log has. */
  write(line: string): void {
    if (this.#pending === '') setImmediate(() => this.#flush());
    this.#pending += `${line}\n`;
  }

  /** Writes all lines and closes the file. */
  async end(): Promise<void> {
    this.#flush();
    this.#file.end();
    await this.#written;
  }

  #flush(): void {
    if (this.#file.writable && this.#pending !== '') this.#file.write(this.#pending);
    this.#pending = '';
  }
}
