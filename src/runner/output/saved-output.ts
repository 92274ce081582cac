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

/** As in capture.ts: what is read is lost when we are killed before it is written. */
const chunkSize = 48 * 1024;
/** How often it is looked whether there is more, in ms. */
const interval = 50;

interface Kept {
  path: string;
  /** of the keeper that began it: see keep-output.sh */
  pid: number;
  at: number;
}

/** What was read from a FIFO while there was no runner, and still is, until nobody writes into it any more. */
export class SavedOutput {
  readonly #fifo: string;

  constructor(fifo: string) {
    this.#fifo = fifo;
  }

  /** All of it, in order, into the log; over when what reads the FIFO is gone, or `stopped` says so. */
  async read(framer: Framer, log: AppLog, stopped: () => boolean): Promise<void> {
    for (const kept of await this.#files()) {
      await follow(kept, framer, log, stopped);
      if (stopped()) return;
      remove(kept);
    }
  }

  /** The oldest first: another one may have begun where an earlier one was ended by force. */
  async #files(): Promise<Kept[]> {
    const directory = dirname(this.#fifo);
    const found: Kept[] = [];
    const own = basename(this.#fifo);
    for (const name of await listDirectory(directory)) {
      if (!name.startsWith(own)) continue;
      const pid = /^\.(\d+)\.kept$/.exec(name.slice(own.length))?.[1];
      if (pid === undefined) continue;
      const path = join(directory, name);
      found.push({ path, pid: Number(pid), at: (await stat(path)).birthtimeMs });
    }
    return found.sort((a, b) => a.at - b.at);
  }
}

async function follow(kept: Kept, framer: Framer, log: AppLog, stopped: () => boolean): Promise<void> {
  const { path } = kept;
  await using file = await open(path);
  const buffer = Buffer.allocUnsafe(chunkSize);
  let position = await positionIn(path);
  while (!stopped()) {
    // Asked before: what it has written by then is read below.
    const more = await goesOn(kept);
    const { bytesRead } = await file.read(buffer, 0, chunkSize, position);
    if (bytesRead > 0) {
      position += bytesRead;
      const records = framer.push(buffer.toString('latin1', 0, bytesRead), new Date());
      // First this: were we killed in between, it would be lost, and otherwise be there twice.
      notePosition(path, position - framer.pending);
      if (records !== '') await log.write(records);
    } else if (more) {
      await sleep(interval, undefined, { ref: false });
    } else {
      return;
    }
  }
}

/** In one write and of one length: it must be whole whenever we are killed. A full disk must not end the reading. */
function notePosition(path: string, position: number): void {
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

/** How far an earlier runner has come with it. */
async function positionIn(path: string): Promise<number> {
  return Number(await ifThere(readFile(positionFile(path), 'utf8'))) || 0;
}

function positionFile(path: string): string {
  return `${path}.at`;
}

function remove({ path }: Kept): void {
  rmSync(path, { force: true });
  rmSync(positionFile(path), { force: true });
  rmSync(overFile(path), { force: true });
}

/** One that was ended by force has not said that it is over. */
async function goesOn({ path, pid }: Kept): Promise<boolean> {
  return !(await exists(overFile(path))) && isAlive(-pid);
}

function overFile(path: string): string {
  return `${path}.over`;
}
