import fsPromises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import type { TestContext } from 'node:test';

/** Makes each `open` of a file whose path matches fail during a test, as without a free descriptor. */
export function failOpen(t: TestContext, pattern: RegExp, code = 'EMFILE'): void {
  const { open } = fsPromises;
  const failing = async (path: Parameters<typeof open>[0], ...rest: never[]) => {
    if (pattern.test(String(path))) throw Object.assign(new Error(`${code}: a test fails this`), { code });
    return open(path, ...rest);
  };
  fsPromises.open = failing as typeof open;
  syncBuiltinESMExports();
  t.after(() => {
    fsPromises.open = open;
    syncBuiltinESMExports();
  });
}
