import { longestLine } from './join.ts';

/** More than any line of ours takes: what is longer has lost its line ends. */
const longest = longestLine + 4096;

/** The lines of a file, from blocks of it. Bytes are kept as latin1: parts of a line may end amid a character. */
export class ByteLines {
  #rest = '';

  /** The lines that `block` completes. */
  push(block: Buffer): string[] {
    const lines = (this.#rest + block.toString('latin1')).split('\n');
    this.#rest = lines.pop() ?? '';
    if (this.#rest.length > longest) lines.push(...this.flush());
    return lines;
  }

  /** What stands after the last line end: of a file that is no longer written, it is a line. */
  flush(): string[] {
    const rest = this.#rest;
    this.#rest = '';
    return rest === '' ? [] : [rest];
  }
}
