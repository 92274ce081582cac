/** Size and type of the terminal of this process, for a command on the server. */
export interface LocalTerminal {
  rows: number;
  columns: number;
  type: string;
}

/** Returns the terminal of this process; undefined if input or output is something else. */
export function localTerminal(): LocalTerminal | undefined {
  if (!process.stdin.isTTY || !process.stdout.isTTY) return undefined;
  const type = process.env['TERM'] ?? '';
  return { ...terminalSize(), type: /^[\w.+-]{1,64}$/.test(type) ? type : 'xterm' };
}

/** Returns the size of the terminal. A terminal without a size, such as a serial line, has 24 rows of 80 columns. */
export function terminalSize(): { rows: number; columns: number } {
  return { rows: process.stdout.rows || 24, columns: process.stdout.columns || 80 };
}

/** Passes on each key without a meaning of its own, until the result is disposed of: also Ctrl-C, Ctrl-D and Ctrl-Z. */
export function rawInput(): Disposable {
  process.stdin.setRawMode(true);
  return { [Symbol.dispose]: () => void process.stdin.setRawMode(false) };
}
