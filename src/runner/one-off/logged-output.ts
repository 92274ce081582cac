import { closeSync } from 'node:fs';
import type { ProcessOutput } from '../output/process-output.ts';
import type { Connection } from './connection.ts';

/** Returns the connection of a detached command: it has no input, and its output goes to the log of its app. */
export function logOutput(output: ProcessOutput): Connection {
  using opened = new DisposableStack();
  let isStarted = false;
  opened.defer(() => {
    if (!isStarted) output.remove();
  });
  const printed = output.open().map((fd) => opened.adopt(fd, closeSync));
  const unused = opened.move();
  return {
    stdio: ['ignore', ...printed],
    started() {
      isStarted = true;
      output.capture();
      return { logged: () => output.processEnded() };
    },
    [Symbol.dispose]: () => unused.dispose(),
  };
}
