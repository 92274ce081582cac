interface SplitterOptions {
  /** limit of a line, in characters: a longer line is cut, so that text without line ends does not fill the memory */
  longest?: number;
  /** true to leave out text that a terminal would overwrite after a carriage return, such as states of a progress bar */
  overwrite?: boolean;
}

/**
 * Parses a line of JSON; undefined if it is not an object. Throws nothing: the parser's error would quote secrets in the line.
 */
export function parseObject<Value extends object>(line: string): Value | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? (value as Value) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Splits text that arrives in pieces into lines, without line ends. node:readline would also end a line at
 * U+2028 and U+2029, which JSON does not escape.
 */
export class LineSplitter {
  readonly #longest: number;
  readonly #overwrite: boolean;
  #rest = '';

  constructor({ longest = Number.POSITIVE_INFINITY, overwrite = false }: SplitterOptions = {}) {
    this.#longest = longest;
    this.#overwrite = overwrite;
  }

  /** Number of characters of the incomplete line. */
  get restLength(): number {
    return this.#rest.length;
  }

  /** Returns the lines that `text` completes. */
  push(text: string): string[] {
    const lines = text.split('\n');
    lines[0] = this.#rest + lines[0];
    this.#rest = lines.pop() as string;
    const whole = lines.flatMap((line) => this.#finish(line));
    if (this.#rest.length <= this.#longest) return whole;
    const parts = cut(this.#overwrite ? visible(this.#rest, true) : this.#rest, this.#longest);
    this.#rest = parts.pop() as string;
    return [...whole, ...parts];
  }

  /** Returns the text after the last line end, if there is any, at the end of a stream. */
  flush(): string[] {
    const rest = this.#finish(this.#rest);
    this.#rest = '';
    return rest[0] === '' ? [] : rest;
  }

  #finish(line: string): string[] {
    return cut(this.#overwrite ? visible(line) : line, this.#longest);
  }
}

function cut(line: string, longest: number): string[] {
  if (line.length <= longest) return [line];
  const parts: string[] = [];
  for (let start = 0; start < line.length; start += longest) parts.push(line.slice(start, start + longest));
  return parts;
}

/**
 * Returns what a terminal shows of a line: a carriage return goes back to its start, and the text after it overwrites the line.
 * @param isOpen keeps a carriage return at the end, which may be a part of `\r\n`
 */
function visible(line: string, isOpen = false): string {
  const end = line.endsWith('\r') ? line.replace(/\r+$/, '') : line;
  const text = end.slice(end.lastIndexOf('\r') + 1);
  return isOpen && end !== line ? `${text}\r` : text;
}
