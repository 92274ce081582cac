import type { ChildProcess, StdioOptions } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import type { TerminalSize } from '../../protocol/runner.ts';

/** Input and output of a one-off command before its start. Disposing of it closes what the command has got, and what is not in use. */
export interface Connection extends Disposable {
  stdio: StdioOptions;
  /** returns the program to start in place of the command */
  wrap?(argv: string[]): string[];
  /** called when the command has been started */
  started(child: ChildProcess): Streams;
}

/** Our side of the input and the output of a one-off command. */
export interface Streams {
  /** undefined for a detached command */
  input?: Writable;
  stdout?: Readable;
  stderr?: Readable;
  /** undefined without a terminal. @throws AppError `bad_request` */
  resize?(size: TerminalSize): void;
  /** pid of the command in its terminal, which has a session of its own; undefined once the terminal is gone without a report */
  inTerminal?: Promise<number | undefined>;
  /** hangs up its terminal */
  hangUp?(): void;
  /** waits until all output is in the log */
  logged?(): Promise<void>;
}
