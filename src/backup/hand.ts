import { chmod, lchown, readdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import type { Paths } from '../config/paths.ts';
import { type Owner, type Owners, usualOwner } from './owners.ts';
import { isRootOfTree, type Place, placeOf } from './place.ts';
import type { Unpacked } from './unpack.ts';

/**
 * Gives what was unpacked to whom it belonged, by what they are here: the user that Sluice runs as, and those of the apps,
 * who are made where there are none yet. Where nobody has users of their own, all stays ours.
 */
export async function hand(
  staging: Paths,
  owners: Owners,
  { head, owners: others, between }: Unpacked,
): Promise<void> {
  if (!owners.isolated) return;
  // The directory that all is in stays ours, and closed: whoever gets what is above could lead us elsewhere meanwhile.
  const giving = async (path: string, isDirectory: boolean): Promise<void> => {
    const at = join(staging.home, path);
    const place = between.has(path) ? ofHome : placeOf(path);
    // Where apps had no users, what an app wrote was the owner's, and is the app's now.
    const usual = usualOwner(place, true);
    const was = others.get(path) ?? { owner: usual, group: usual };
    const role = head.isolated ? was : { owner: usual, group: usual };
    const app = place.target === null ? owners.home : await owners.ensureApp(place.target);
    if (isDirectory && !between.has(path) && isRootOfTree(path)) {
      // Sticky, as where a tree is built: else the app could put records of its own in the place of ours.
      await lchown(at, owners.home.uid, app.gid);
      await chmod(at, 0o1770);
    } else await lchown(at, of(role.owner, app, owners.home).uid, of(role.group, app, owners.home).gid);
  };
  const all = await readdir(staging.home, { recursive: true, withFileTypes: true });
  for (const entry of all)
    await giving(relative(staging.home, join(entry.parentPath, entry.name)), entry.isDirectory());
  for (const { app, environment } of head.environments) {
    // Everybody may pass through: what is in there has its own mode.
    await chmod(staging.environment({ app, environment }).directory, 0o711);
    await chmod(staging.app(app), 0o711);
  }
  await chmod(staging.home, 0o711);
}

const ofHome: Place = { part: '', app: null, target: null, isOfApp: false };

function of(role: string, app: Owner, home: Owner): Owner {
  if (role === 'root') return { uid: 0, gid: 0 };
  return role === 'app' ? app : home;
}
