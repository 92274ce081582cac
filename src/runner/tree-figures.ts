import { readdirSync, readFileSync } from 'node:fs';
import { hasCode } from '../errors/app-error.ts';
import { ProcessFigures } from './process-figures.ts';

/** Limit of the processes that are measured: an app must not keep the runner busy by starting many. */
const mostProcesses = 256;
/** Interval between two searches for processes, in ms. Their memory is read more often. */
const searchInterval = 900;

/** Usage of a process and all its descendants, read from /proc. */
export class TreeFigures extends ProcessFigures {
  readonly #pid: number;
  #descendants = new Map<number, ProcessFigures>();
  #searchedAt = Number.NEGATIVE_INFINITY;

  constructor(pid: number) {
    super(pid);
    this.#pid = pid;
  }

  override read(now = performance.now()): void {
    super.read(now);
    if (now - this.#searchedAt >= searchInterval) {
      this.#searchedAt = now;
      const pids = descendantsOf(this.#pid);
      this.#descendants = new Map(
        pids.map((pid) => [pid, this.#descendants.get(pid) ?? new ProcessFigures(pid)]),
      );
    }
    for (const figures of this.#descendants.values()) {
      figures.memoryBytes = null;
      figures.read(now);
      this.memoryBytes = add(this.memoryBytes, figures.memoryBytes);
      this.cpuPercent = add(this.cpuPercent, figures.cpuPercent);
    }
  }
}

function add(one: number | null, other: number | null): number | null {
  return one === null || other === null ? (one ?? other) : Math.round((one + other) * 10) / 10;
}

/** Returns the pids of the descendants of a process, up to a limit; none without /proc. */
export function descendantsOf(pid: number): number[] {
  const found: number[] = [];
  const waiting = [pid];
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    for (const child of childrenOf(next)) {
      if (found.length >= mostProcesses) return found;
      found.push(child);
      waiting.push(child);
    }
  }
  return found;
}

/** Returns the children of all threads of a process. */
function childrenOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((thread) => {
      const text = readFileSync(`/proc/${pid}/task/${thread}/children`, 'latin1').trim();
      return text === '' ? [] : text.split(' ').map(Number);
    });
  } catch (error) {
    // The process or the thread has ended, or the system has no such files.
    if (hasCode(error, 'ENOENT', 'ESRCH')) return [];
    throw error;
  }
}
