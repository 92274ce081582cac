import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { exists } from '../../../src/system/fs/exists.ts';
import { cache, type Suite } from './cache.ts';
import { type Ending, Guest, type GuestOptions } from './guest.ts';
import { image } from './image.ts';
import { copyProject, projectHash } from './project.ts';

/** A checkout's install.sh, as an administrator runs it. */
export const install = 'cd /root/sluice && ./install.sh --yes';

/**
 * A guest with this project installed on it. That is done once and kept as a layer over the image, for as long as the
 * project's files stay as they are.
 */
export async function installedGuest(
  t: Ending,
  suite: Suite,
  { layers = [], ...options }: GuestOptions = {},
): Promise<Guest> {
  return Guest.boot(t, suite, { ...options, layers: [await installation(suite), ...layers] });
}

async function installation(suite: Suite): Promise<string> {
  const directory = join(cache, 'installed');
  const layer = join(directory, `${basename(await image(suite))}-${await projectHash()}`);
  if (await exists(layer)) return layer;
  await mkdir(directory, { recursive: true });
  for (const name of await readdir(directory))
    if (name.startsWith(`${suite}-`)) await rm(join(directory, name), { recursive: true });
  const endings: (() => Promise<void>)[] = [];
  try {
    const guest = await Guest.boot({ after: (end) => endings.push(end) }, suite);
    await copyProject(join(guest.root, 'root/sluice'));
    await guest.exec(install, { timeout: 300_000 });
    await guest.powerOff();
    await guest.unmount();
    await rename(guest.upper, layer);
  } finally {
    for (const end of endings) await end();
  }
  return layer;
}
