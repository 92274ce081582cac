import { chmodSync, lstatSync, opendirSync, rmdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { systemCode } from '../errors/app-error.ts';

/** Number of names that are read from a directory at a time: memory must not grow with the size of the directory. */
const batchSize = 64;

/** Time between two turns of the event loop, in ms. Synchronous calls are used: they take a fifth of the CPU time. */
const slice = 5;

/** Number of attempts to remove a directory into which another process still writes. */
const attempts = 5;

/**
 * Removes a file or a directory with everything below it, if it exists. Makes read-only directories writable first, such as
 * the caches of some tools: otherwise only root could remove their entries.
 */
export async function removeTree(path: string): Promise<void> {
  if (isDirectory(path)) await removeDirectory(path, new Pace());
  else rmSync(path, { force: true });
}

/** Removes all entries of a directory, if it exists, except the entry named `except`. */
export async function emptyDirectory(path: string, except?: string): Promise<void> {
  await empty(path, new Pace(), except);
}

async function empty(path: string, pace: Pace, except?: string): Promise<void> {
  for (;;) {
    const names = writable(path, () => readBatch(path, except)) ?? [];
    if (names.length === 0) return;
    for (const name of names) {
      const child = join(path, name);
      if (writable(path, () => isDirectory(child))) await removeDirectory(child, pace, path);
      else writable(path, () => rmSync(child, { force: true }));
      if (pace.isOver) await pace.rest();
    }
  }
}

/** @param parent the directory of `path`, if its mode may be changed */
async function removeDirectory(path: string, pace: Pace, parent?: string): Promise<void> {
  const remove = () => rmdirSync(path);
  for (let attempt = 1; ; attempt += 1) {
    try {
      // Tried first, because an empty directory can be removed without the right to read it.
      if (parent === undefined) ifThere(remove);
      else writable(parent, remove);
      return;
    } catch (error) {
      const isFull = ['ENOTEMPTY', 'EEXIST'].includes(systemCode(error) ?? '');
      if (!isFull || attempt > attempts) throw error;
    }
    await empty(path, pace);
  }
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
    return ifThere(step);
  } catch (error) {
    if (!['EACCES', 'EPERM'].includes(systemCode(error) ?? '')) throw error;
    chmodSync(directory, 0o700);
    return ifThere(step);
  }
}

/** Runs `step`; returns undefined if another process has removed the file meanwhile. */
function ifThere<T>(step: () => T): T | undefined {
  try {
    return step();
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Timer that says when the event loop should turn. */
class Pace {
  #since = performance.now();

  get isOver(): boolean {
    return performance.now() - this.#since > slice;
  }

  async rest(): Promise<void> {
    await nextTurn();
    this.#since = performance.now();
  }
}
