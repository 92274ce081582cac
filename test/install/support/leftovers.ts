import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { exists } from '../../../src/system/fs/exists.ts';
import { guestsDirectory } from './cache.ts';
import { removeCgroups } from './cgroups.ts';
import { attempt } from './command.ts';
import { removeNetwork } from './network.ts';

/** Takes away what a run that was killed has left: its name says which process it was of. */
export async function sweep(): Promise<void> {
  await mkdir(guestsDirectory, { recursive: true });
  for (const name of await readdir(guestsDirectory)) {
    const pid = name.split('-').at(-2);
    if (await exists(`/proc/${pid}`)) continue;
    await removeCgroups(name);
    await removeNetwork(name);
    await attempt('umount', [join(guestsDirectory, name, 'root')]);
    await rm(join(guestsDirectory, name), { recursive: true, force: true });
  }
}
