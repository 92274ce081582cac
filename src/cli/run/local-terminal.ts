import { run } from '../../system/process/run.ts';

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

/**
 * Passes on each key without a meaning of its own, also Ctrl-C, Ctrl-D and Ctrl-Z, and shows output unchanged, until the result is
 * disposed of. Node.js restores the terminal at any exit of this process.
 */
export async function rawTerminal(): Promise<Disposable> {
  const { stdin } = process;
  stdin.setRawMode(true);
  using entered = new DisposableStack();
  entered.defer(() => void stdin.setRawMode(false));
  // Node.js leaves the conversion of line ends on, and the terminal of the server has made it already. A machine without stty
  // shows carriage returns twice, which only full-screen programs notice.
  await run('stty', ['-opost'], { stdio: ['inherit', 'pipe', 'pipe'] }).catch(() => undefined);
  return entered.move();
}
