import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type Sluice, startSluice } from './server.ts';
import { Sshd } from './sshd.ts';

/** A way in for a push: where to push an app to, and what git needs in its environment for it. */
interface Way {
  url(app: string): string;
  env: Record<string, string>;
}

interface Entered {
  sluice: Sluice;
  sshd: Sshd;
  /** the file in which that sshd looks for keys, and into which that Sluice writes them */
  authorizedKeys: string;
  ways: Record<'http' | 'ssh', Way>;
}

/** A Sluice that can be pushed to in both ways: with a token that may do anything, and with the key `laptop`. */
export async function startWithSshd(t: Pick<TestContext, 'after'>): Promise<Entered> {
  const sluice = await startSluice(t);
  const authorizedKeys = join(sluice.home, '.ssh/authorized_keys');
  const sshd = await Sshd.start(t, authorizedKeys);
  await sluice.call('POST', '/v1/keys', { name: 'laptop', key: await sshd.makeKey('laptop') });
  const ways = {
    http: { url: (app: string) => sluice.gitUrl(app), env: {} },
    ssh: { url: (app: string) => sshd.url(app), env: { GIT_SSH_COMMAND: sshd.command('laptop') } },
  };
  return { sluice, sshd, authorizedKeys, ways };
}
