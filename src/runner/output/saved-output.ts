import { closeSync, constants, openSync, rmSync, writeSync } from 'node:fs';
import { open, readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
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
  const buffer = Buffer.allocUnsafe(chunkSize);
  for (const { path, pid } of await savedFiles(fifo)) {
    await using file = await open(path);
    let position = Number(await ifThere(readFile(`${path}.at`, 'utf8'))) || 0;
    for (;;) {
      // The check comes before the read, so that nothing is missed. A keeper that was killed leaves no end file.
      const grows = !(await exists(`${path}.over`)) && isAlive(-pid);
      const { bytesRead } = await file.read(buffer, 0, chunkSize, position);
      if (stopped()) return;
      if (bytesRead > 0) {
        position += bytesRead;
        const records = framer.push(buffer.toString('latin1', 0, bytesRead), new Date());
        // The position first: if the runner is killed in between, lines are lost rather than logged twice.
        storePosition(`${path}.at`, position - framer.pending);
        if (records !== '') await log.write(records);
      } else if (grows) {
        await sleep(interval, undefined, { ref: false });
      } else {
        break;
      }
    }
    for (const ending of ['', '.at', '.over']) rmSync(`${path}${ending}`, { force: true });
  }
}

/**
 * Returns the files of a FIFO with the pids of the keepers that write them, the oldest first: another keeper may have begun after
 * one was killed. See keep-output.sh.
 */
async function savedFiles(fifo: string): Promise<{ path: string; pid: number }[]> {
  const found: { path: string; pid: number; createdAt: number }[] = [];
  for (const name of await listDirectory(dirname(fifo))) {
    const path = join(dirname(fifo), name);
    const pid = path.startsWith(fifo) && /^\.(\d+)\.kept$/.exec(path.slice(fifo.length))?.[1];
    if (pid) found.push({ path, pid: Number(pid), createdAt: (await stat(path)).birthtimeMs });
  }
  return found.sort((one, other) => one.createdAt - other.createdAt);
}

/** Stores a position in one write of a fixed length, so that the file is whole at any instant. Ignores a full disk. */
function storePosition(path: string, position: number): void {
  try {
    using opened = new DisposableStack();
    const fd = opened.adopt(openSync(path, constants.O_WRONLY | constants.O_CREAT, 0o600), closeSync);
    writeSync(fd, String(position).padStart(16, '0'), 0);
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
  }
}
