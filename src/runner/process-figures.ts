import { readFileSync } from 'node:fs';
import type { ProcessUsage } from '../protocol/runner.ts';
import { statOf } from '../system/process/processes.ts';

/** Field of /proc/self/auxv: see getauxval(3). */
const atPageSize = 6n;
/** Clock ticks per second in /proc, on x64 and arm64. */
const ticksPerSecond = 100;

/** Shortest time over which the share of the processor is computed, in s: the kernel counts in hundredths. */
const cpuWindow = 0.9;

const pageSize = readPageSize();

/** Usage of one process, read from /proc. Without /proc there are no figures. */
export class ProcessFigures implements ProcessUsage {
  readonly #pid: number;
  #last = { ticks: 0, at: performance.now() };
  #readAt = Number.NEGATIVE_INFINITY;
  memoryBytes: number | null = null;
  /** share since the last read */
  cpuPercent: number | null = null;

  constructor(pid: number) {
    this.#pid = pid;
  }

  /** Time since the last read, in ms. */
  age(now: number): number {
    return now - this.#readAt;
  }

  /** Reads the usage. @param now in ms, from a clock that only goes forward */
  read(now = performance.now()): void {
    this.#readAt = now;
    const fields = statFields(this.#pid);
    if (fields === undefined) return;
    // proc(5), /proc/PID/stat: utime and stime are fields 14 and 15, rss field 24; the list begins with field 3.
    const ticks = Number(fields[11]) + Number(fields[12]);
    this.memoryBytes = Number(fields[21]) * pageSize;
    const seconds = (now - this.#last.at) / 1000;
    if (seconds < cpuWindow) return;
    this.cpuPercent = Math.round(((ticks - this.#last.ticks) / ticksPerSecond / seconds) * 1000) / 10;
    this.#last = { ticks, at: now };
  }
}

function statFields(pid: number): string[] | undefined {
  try {
    return statOf(pid);
  } catch {
    // The process has ended. The `exit` event is handled elsewhere.
    return undefined;
  }
}

function readPageSize(): number {
  try {
    const vector = readFileSync('/proc/self/auxv');
    for (let at = 0; at + 16 <= vector.length; at += 16)
      if (vector.readBigUInt64LE(at) === atPageSize) return Number(vector.readBigUInt64LE(at + 8));
  } catch {
    // Without /proc, no process is measured.
  }
  return 4096;
}
