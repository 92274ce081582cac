import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { Sluice } from './server.ts';
import { removeDirectory } from './temporary.ts';

/** Another install, where nothing runs yet: what does later is gone after the test. @param token that it will have */
export async function secondHome(t: Pick<TestContext, 'after'>, { token }: Sluice): Promise<Sluice> {
  const home = await mkdtemp(join(tmpdir(), 'sluice-test-'));
  const sluice = new Sluice(home, { token });
  t.after(async () => {
    await sluice.end();
    await removeDirectory(home);
  });
  return sluice;
}
