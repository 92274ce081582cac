import { randomUUID } from 'node:crypto';
import { chmodSync, lstatSync, opendirSync, renameSync, rmdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { hasCode, systemCode } from '../../errors/app-error.ts';

/** Number of names that are read from a directory at a time: memory must not grow with the size of the directory. */
const batchSize = 64;

/** Time between two turns of the event loop, in ms. Synchronous calls are used: they take a fifth of the CPU time. */
const slice = 5;

/** Number of attempts to remove a directory into which another process still writes. */
const attempts = 5;

/**
 * Limits the length of a path below the path of the tree, in bytes. Deeper directories are moved up, because the system
 * refuses paths of more than 4095 bytes.
 */
const deepest = 256;

/**
 * Removes a file or a directory with everything below it, if it exists, however deep it is. Makes read-only directories writable
 * first, such as the caches of some tools: otherwise only root could remove their entries.
 */
export async function removeTree(path: string): Promise<void> {
  if (isDirectory(path)) await removeDirectories([{ path, parent: undefined, attempts }], path, new Pace());
  else rmSync(path, { force: true });
}

/** Removes all entries of a directory, if it exists, except the entry named `except`. */
export async function emptyDirectory(path: string, except?: string): Promise<void> {
  const pace = new Pace();
  for (;;) {
    const names = writable(path, () => readBatch(path, except)) ?? [];
    if (names.length === 0) return;
    for (const name of names) {
      const directory = removeEntry(path, name, path);
      if (directory !== undefined) await removeDirectories([directory], path, pace);
      if (pace.isDue) await pace.rest();
    }
  }
}

interface Directory {
  path: string;
  /** the directory of `path`, if its mode may be changed */
  parent: string | undefined;
  /** number of attempts that are left */
  attempts: number;
}

/**
 * Removes directories, the last one first. This is a loop, because an app may nest directories deeper than the stack allows.
 * @param top directory into which deep directories are moved
 */
async function removeDirectories(directories: Directory[], top: string, pace: Pace): Promise<void> {
  for (let last = directories.at(-1); last !== undefined; last = directories.at(-1)) {
    if (tryRemove(last)) directories.pop();
    else {
      const { path } = last;
      const names = writable(path, () => readBatch(path, undefined)) ?? [];
      if (names.length === 0) last.attempts -= 1;
      for (const name of names) {
        const below = removeEntry(path, name, top);
        if (below !== undefined) directories.push(below);
        if (pace.isDue) await pace.rest();
        if (below !== undefined) break;
      }
    }
    if (pace.isDue) await pace.rest();
  }
}

/**
 * Removes a directory.
 * @returns false if the directory is not empty
 * @throws the error if the directory was not empty too often, because another process writes into it
 */
function tryRemove({ path, parent, attempts: left }: Directory): boolean {
  try {
    // Tried first, because an empty directory can be removed without the right to read it.
    if (parent === undefined) ifThereSync(() => rmdirSync(path));
    else writable(parent, () => rmdirSync(path));
    return true;
  } catch (error) {
    if (!hasCode(error, 'ENOTEMPTY', 'EEXIST') || left <= 0) throw error;
    return false;
  }
}

/** Removes an entry of a directory, unless it is a directory itself. @returns the directory, which may have moved up */
function removeEntry(parent: string, name: string, top: string): Directory | undefined {
  const path = join(parent, name);
  if (!writable(parent, () => isDirectory(path))) {
    writable(parent, () => rmSync(path, { force: true }));
    return undefined;
  }
  if (path.length - top.length <= deepest) return { path, parent, attempts };
  const moved = join(top, `.tmp-${randomUUID()}`);
  // A directory that changes its parent must be writable itself.
  writable(parent, () => chmodSync(path, 0o700));
  writable(top, () => writable(parent, () => renameSync(path, moved)));
  return { path: moved, parent: top, attempts };
}

/** Reads the next names from a directory, and closes it: a deep tree must not take a descriptor for each level. */
function readBatch(path: string, except: string | undefined): string[] {
  const directory = opendirSync(path, { bufferSize: batchSize });
  try {
    const names: string[] = [];
    while (names.length < batchSize) {
      const entry = directory.readSync();
      if (entry === null) break;
      if (entry.name !== except) names.push(entry.name);
    }
    return names;
  } finally {
    directory.closeSync();
  }
}

function isDirectory(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

/** Runs `step`, which changes a directory. If the mode of the directory forbids it, makes the directory writable and retries. */
function writable<T>(directory: string, step: () => T): T | undefined {
  try {
    return ifThereSync(step);
  } catch (error) {
    if (!['EACCES', 'EPERM'].includes(systemCode(error) ?? '')) throw error;
    chmodSync(directory, 0o700);
    return ifThereSync(step);
  }
}

/** Runs `step`; returns undefined if another process has removed the file meanwhile. */
function ifThereSync<T>(step: () => T): T | undefined {
  try {
    return step();
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Timer for pauses, in which the event loop turns. */
class Pace {
  #since = performance.now();

  get isDue(): boolean {
    return performance.now() - this.#since > slice;
  }

  async rest(): Promise<void> {
    await nextTurn();
    this.#since = performance.now();
  }
}
