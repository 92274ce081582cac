import { Socket } from 'node:net';

/**
 * Imported before each test file. With `--test-force-exit`, Node.js ends a file with `process.exit()`, which drops the results that
 * the runner of the tests has not read yet: hundreds of fast tests lost some of them. Blocking writes leave none.
 */
if (process.stdout instanceof Socket) {
  const { _handle: handle } = process.stdout as unknown as { _handle: { setBlocking(on: boolean): number } };
  handle.setBlocking(true);
}
