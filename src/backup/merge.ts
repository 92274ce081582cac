import { existsSync, readdirSync, readFileSync, renameSync } from 'node:fs';
import { readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { Paths } from '../config/paths.ts';
import { systemCode } from '../errors/app-error.ts';
import { exists } from '../system/fs/exists.ts';
import { parseJson, readJson, writeFileAtomic } from '../system/fs/files.ts';
import { asUser } from '../system/process/user.ts';
import type { Owners } from './owners.ts';
import { edgeDirectory, stateFiles } from './place.ts';

/**
 * Puts what concerns the whole appliance beside what is here: a fresh install has a token and settings of its own, which
 * somebody has just been given. Of two tokens, keys or domains of one name, that of the backup holds; of two settings,
 * that of this machine.
 */
export async function mergeState(paths: Paths, staging: Paths, owners: Owners): Promise<void> {
  for (const name of stateFiles) {
    const [from, to] = [join(staging.home, name), join(paths.home, name)];
    if (!(await exists(from))) continue;
    if (await exists(to))
      await writeFileAtomic(
        from,
        await merged(name, from, () => asUser(owners.home, () => readFileSync(to))),
      );
    await owners.giveToHome(from);
    await rename(from, to);
  }
  const [from, to] = [join(staging.home, edgeDirectory), join(paths.home, edgeDirectory)];
  if (!(await exists(from))) return;
  if (await exists(to)) asUser(owners.home, () => moveInto(from, to));
  else await rename(from, to);
}

/** @param read what is here, with no more rights than whoever owns it: it may be a link by now */
async function merged(name: string, from: string, read: () => Buffer): Promise<string | Buffer> {
  // The history that comes from elsewhere is the older one.
  if (name === 'events.jsonl') return Buffer.concat([await readFile(from), read()]);
  const [theirs, ours] = [await readJson(from), parseJson(read().toString())];
  const both = name === 'config.json' ? underneath(theirs, ours) : byName(theirs, ours);
  return `${JSON.stringify(both, null, 2)}\n`;
}

/** Of what both have, `ours`. */
function underneath(theirs: unknown, ours: unknown): unknown {
  if (!isObject(theirs) || !isObject(ours)) return ours;
  const both: Record<string, unknown> = { ...theirs };
  for (const [key, value] of Object.entries(ours)) {
    both[key] = key in theirs ? underneath(theirs[key], value) : value;
  }
  return both;
}

/** Lists of what has names: theirs, and of ours what has another name. */
function byName(theirs: unknown, ours: unknown): unknown {
  if (!isObject(theirs) || !isObject(ours)) return theirs;
  const both: Record<string, unknown> = { ...ours, ...theirs };
  for (const [key, list] of Object.entries(theirs)) {
    const other = ours[key];
    if (!Array.isArray(list) || !Array.isArray(other)) continue;
    const taken = new Set(list.map(nameOf));
    both[key] = [...list, ...other.filter((each) => !taken.has(nameOf(each)))];
  }
  return both;
}

function nameOf(record: unknown): unknown {
  return isObject(record) ? record['name'] : record;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** File by file: certificates that are here for other names stay. */
function moveInto(from: string, to: string): void {
  for (const name of readdirSync(from)) {
    const [there, here] = [join(from, name), join(to, name)];
    try {
      renameSync(there, here);
    } catch (error) {
      const isInTheWay = ['ENOTEMPTY', 'EEXIST', 'EISDIR', 'ENOTDIR'].includes(systemCode(error) ?? '');
      if (!isInTheWay || !existsSync(here)) throw error;
      moveInto(there, here);
    }
  }
}
