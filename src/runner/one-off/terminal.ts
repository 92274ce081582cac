import type { ChildProcess } from 'node:child_process';
import type { Duplex, Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { AppError } from '../../errors/app-error.ts';
import type { TerminalSize } from '../../protocol/runner.ts';
import { assertPerl, perl } from '../perl.ts';
import type { Connection } from './connection.ts';

const script = fileURLToPath(new URL('terminal.pl', import.meta.url));

/** Largest number of digits of a pid. */
const mostDigits = 10;
/** Largest number of rows or columns of a terminal. */
const mostCells = 9999;

/**
 * Returns a terminal for a command: a small program of perl opens the terminal and runs the command in it.
 * @throws AppError `perl_missing`, `bad_request`
 */
export function openTerminal(size: TerminalSize): Connection {
  const { rows, columns } = checkedSize(size);
  assertPerl();
  return {
    wrap: (argv) => [perl, script, String(rows), String(columns), ...argv],
    stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
    started(child: ChildProcess) {
      const [input, stdout, stderr, control] = child.stdio as unknown as [
        Writable,
        Readable,
        Readable,
        Duplex,
      ];
      control.on('error', () => undefined);
      // A terminal that is stopped reads no sizes: only the newest one waits.
      let newest: TerminalSize | undefined;
      const resize = (next: TerminalSize) => {
        newest = control.writableNeedDrain ? next : undefined;
        if (newest === undefined) control.write(`${next.rows} ${next.columns}\n`);
      };
      control.on('drain', () => newest && resize(newest));
      return {
        ...{ input, stdout, stderr },
        inTerminal: readPid(control),
        resize: (next) => resize(checkedSize(next)),
        hangUp: () => control.destroy(),
      };
    },
    [Symbol.dispose]: () => undefined,
  };
}

/** Reads the first line of a terminal. The user of the app may have forged it. */
function readPid(control: Duplex): Promise<number | undefined> {
  const { promise, resolve } = Promise.withResolvers<number | undefined>();
  let text = '';
  control.setEncoding('latin1').on('data', (more: string) => {
    text = (text + more).slice(0, mostDigits + 1);
    const pid = /^([1-9]\d*)\n/.exec(text)?.[1];
    if (pid !== undefined) resolve(Number(pid));
  });
  control.on('close', () => resolve(undefined));
  return promise;
}

/** @throws AppError `bad_request` */
function checkedSize({ rows, columns }: TerminalSize): TerminalSize {
  const isFine = [rows, columns].every(
    (each) => Number.isSafeInteger(each) && each >= 1 && each <= mostCells,
  );
  if (isFine) return { rows, columns };
  throw new AppError(
    'bad_request',
    `invalid size of a terminal (expected 1 to ${mostCells} rows and columns)`,
  );
}
