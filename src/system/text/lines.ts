/**
 * Whole lines from text that arrives in pieces. Lines longer than `longest` characters are cut in parts of that
 * length, so that output without line ends costs no more memory than that.
 */
export class LineSplitter {
  readonly #longest: number;
  #rest = '';

  constructor({ longest = 16_384 } = {}) {
    this.#longest = longest;
  }

  /** The lines that `text` completes, without line ends. */
  push(text: string): string[] {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    const whole = lines.flatMap((line) => this.#cut(visible(line)));
    if (this.#rest.length <= this.#longest) return whole;
    const parts = this.#cut(visible(this.#rest, true));
    this.#rest = parts.pop() ?? '';
    return [...whole, ...parts];
  }

  /** What came after the last line end, if anything: to be asked for when no more comes. */
  flush(): string[] {
    const rest = visible(this.#rest);
    this.#rest = '';
    return rest === '' ? [] : this.#cut(rest);
  }

  #cut(line: string): string[] {
    const parts: string[] = [];
    for (let start = 0; start < Math.max(line.length, 1); start += this.#longest) {
      parts.push(line.slice(start, start + this.#longest));
    }
    return parts;
  }
}

/**
 * What a terminal would show of a line: a carriage return goes back to its start, and what follows overwrites it.
 * Progress bars do that. One at the end may be half of a `\r\n` that is still to come, and is kept where `open`.
 */
function visible(line: string, open = false): string {
  const end = line.endsWith('\r') ? line.replace(/\r+$/, '') : line;
  const text = end.slice(end.lastIndexOf('\r') + 1);
  return open && end !== line ? `${text}\r` : text;
}
