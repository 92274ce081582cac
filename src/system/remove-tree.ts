import { chmodSync, lstatSync, opendirSync, rmdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { systemCode } from '../errors/app-error.ts';

/** Names that are read from a directory before they are removed: memory must not grow with what lies in it. */
const batchSize = 64;

/** How long files are removed before the event loop turns, in ms: synchronous calls take a fifth of the CPU time. */
const slice = 5;

/** Attempts to remove a directory into which something else still writes. */
const attempts = 5;

/**
 * Removes what is at `path` with all that is below it, if anything. Directories that builds have made read-only, as the
 * caches of some tools are, are made writable first: only root could remove what is in them otherwise.
 */
export async function removeTree(path: string): Promise<void> {
  if (isDirectory(path)) await removeDirectory(path, new Pace());
  else rmSync(path, { force: true });
}

/** Removes what is in a directory, if there is one, but for the entry named `except`. */
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

/** @param parent the directory that it lies in, where its mode may be changed */
async function removeDirectory(path: string, pace: Pace, parent?: string): Promise<void> {
  const remove = () => rmdirSync(path);
  for (let attempt = 1; ; attempt += 1) {
    try {
      // First: an empty directory can be removed by those who may not read it.
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

/** Reads the next names from a directory. It is closed again: a deep tree must not take a descriptor for each level. */
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

/** Does something in a directory, again with the directory opened up where its mode forbids it. */
function writable<T>(directory: string, step: () => T): T | undefined {
  try {
    return ifThere(step);
  } catch (error) {
    if (!['EACCES', 'EPERM'].includes(systemCode(error) ?? '')) throw error;
    chmodSync(directory, 0o700);
    return ifThere(step);
  }
}

/** What something else has removed meanwhile is not there. */
function ifThere<T>(step: () => T): T | undefined {
  try {
    return step();
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Tells when the event loop should turn. */
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
