import { existsSync, readdirSync, readFileSync, renameSync } from 'node:fs';
import { readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { Paths } from '../config/paths.ts';
import { systemCode } from '../errors/app-error.ts';
import { exists } from '../system/fs/exists.ts';
import { parseJson, readJson, writeFileAtomic } from '../system/fs/files.ts';
import { asUser } from '../system/process/user.ts';
import { edgeDirectory, stateFiles } from './layout.ts';
import type { Owners } from './owners.ts';

/**
 * Merges the state of the whole appliance into that of this machine: a fresh install already has a token and settings. Of two
 * tokens, keys or domains with one name, that of the backup wins; of two settings, that of this machine.
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

/** @param read reads the file of this machine with the rights of its owner: it may be a link by now */
async function merged(name: string, from: string, read: () => Buffer): Promise<string | Buffer> {
  // The history of the backup is older.
  if (name.startsWith('events.jsonl')) return Buffer.concat([await readFile(from), read()]);
  const [theirs, ours] = [await readJson(from), parseJson(read().toString())];
  const both = name === 'config.json' ? mergeSettings(theirs, ours) : mergeByName(theirs, ours);
  return `${JSON.stringify(both, null, 2)}\n`;
}

/** Merges settings: ours win. */
function mergeSettings(theirs: unknown, ours: unknown): unknown {
  if (!isObject(theirs) || !isObject(ours)) return ours;
  const both: Record<string, unknown> = { ...theirs };
  for (const [key, value] of Object.entries(ours)) {
    both[key] = key in theirs ? mergeSettings(theirs[key], value) : value;
  }
  return both;
}

/** Merges lists of records with names: theirs win. */
function mergeByName(theirs: unknown, ours: unknown): unknown {
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

/** Moves a tree into another one, file by file: certificates of other names stay. */
function moveInto(from: string, to: string): void {
  for (const name of readdirSync(from)) {
    const [source, destination] = [join(from, name), join(to, name)];
    try {
      renameSync(source, destination);
    } catch (error) {
      const isOccupied = ['ENOTEMPTY', 'EEXIST', 'EISDIR', 'ENOTDIR'].includes(systemCode(error) ?? '');
      if (!isOccupied || !existsSync(destination)) throw error;
      moveInto(source, destination);
    }
  }
}
