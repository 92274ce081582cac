import { closeSync, constants, openSync, rmSync, writeSync } from 'node:fs';
import { open, readFile, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemCode } from '../../errors/app-error.ts';
import type { AppLog } from '../../logs/app-log.ts';
import type { Framer } from '../../logs/framer.ts';
import { exists, ifThere } from '../../system/fs/exists.ts';
import { listDirectory } from '../../system/fs/files.ts';
import { isAlive } from '../../system/process/processes.ts';

/** Bytes that are read at a time, as in capture.ts: they are lost if the runner is killed before it has written them. */
const chunkSize = 48 * 1024;
/** Interval between two checks for more output, in ms. */
const interval = 50;

interface SavedFile {
  path: string;
  /** pid of the keeper that writes the file: see keep-output.sh */
  pid: number;
  /** time of its creation, in ms */
  at: number;
}

/**
 * Logs the output that a keeper reads from a FIFO while there is no runner, until no process writes into the FIFO any more.
 * Removes the files of the keeper.
 * @param stopped returns true if the runner leaves: the next runner continues
 */
export async function readSavedOutput(
  fifo: string,
  framer: Framer,
  log: AppLog,
  stopped: () => boolean,
): Promise<void> {
  for (const saved of await savedFiles(fifo)) {
    await follow(saved, framer, log, stopped);
    if (stopped()) return;
    for (const path of [saved.path, positionFile(saved.path), endFile(saved.path)])
      rmSync(path, { force: true });
  }
}

/** Returns the files of a FIFO, the oldest first: another keeper may have begun after one was killed. */
async function savedFiles(fifo: string): Promise<SavedFile[]> {
  const directory = dirname(fifo);
  const own = basename(fifo);
  const found: SavedFile[] = [];
  for (const name of await listDirectory(directory)) {
    const pid = name.startsWith(own) && /^\.(\d+)\.kept$/.exec(name.slice(own.length))?.[1];
    if (!pid) continue;
    const path = join(directory, name);
    found.push({ path, pid: Number(pid), at: (await stat(path)).birthtimeMs });
  }
  return found.sort((a, b) => a.at - b.at);
}

async function follow(saved: SavedFile, framer: Framer, log: AppLog, stopped: () => boolean): Promise<void> {
  const { path } = saved;
  await using file = await open(path);
  const buffer = Buffer.allocUnsafe(chunkSize);
  let position = Number(await ifThere(readFile(positionFile(path), 'utf8'))) || 0;
  while (!stopped()) {
    // The check comes before the read, so that nothing is missed.
    const grows = await isGrowing(saved);
    const { bytesRead } = await file.read(buffer, 0, chunkSize, position);
    if (bytesRead > 0) {
      position += bytesRead;
      const records = framer.push(buffer.toString('latin1', 0, bytesRead), new Date());
      // The position first: if the runner is killed in between, lines are lost rather than logged twice.
      storePosition(path, position - framer.pending);
      if (records !== '') await log.write(records);
    } else if (grows) {
      await sleep(interval, undefined, { ref: false });
    } else {
      return;
    }
  }
}

/** Stores a position in one write of a fixed length, so that the file is whole at any instant. Ignores a full disk. */
function storePosition(path: string, position: number): void {
  try {
    const fd = openSync(positionFile(path), constants.O_WRONLY | constants.O_CREAT, 0o600);
    try {
      writeSync(fd, String(position).padStart(16, '0'), 0);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
  }
}

/** Returns the path of the file that has the position up to which an earlier runner has logged the output. */
function positionFile(path: string): string {
  return `${path}.at`;
}

/** Returns the path of the file that the keeper makes at the end of the output. */
function endFile(path: string): string {
  return `${path}.over`;
}

/** Returns true if the keeper still reads. A keeper that was killed leaves no end file. */
async function isGrowing({ path, pid }: SavedFile): Promise<boolean> {
  return !(await exists(endFile(path))) && isAlive(-pid);
}
