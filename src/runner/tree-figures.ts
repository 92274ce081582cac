import { readdirSync, readFileSync } from 'node:fs';
import type { ProcessUsage } from '../protocol/runner.ts';
import { ProcessFigures } from './process-figures.ts';

/** Limit of the processes that are measured: an app must not keep the runner busy by starting many. All workers share it. */
const mostProcesses = 256;
/** Limit of the threads that a search reads, for each process of the limit: Node.js has about a dozen. */
const threadsOfEach = 16;
/** Interval between two searches for processes, in ms. Their memory is read more often. */
const searchInterval = 900;

/** Usage of a process and all its descendants, read from /proc. */
export class TreeFigures extends ProcessFigures {
  readonly #pid: number;
  readonly #most: number;
  /** figures of the process alone */
  #own: Pick<ProcessUsage, 'memoryBytes' | 'cpuPercent'> = { memoryBytes: null, cpuPercent: null };
  #descendants = new Map<number, ProcessFigures>();
  #searchedAt = Number.NEGATIVE_INFINITY;

  /** @param workers number of processes that share the limit of measured processes */
  constructor(pid: number, workers: number) {
    super(pid);
    this.#pid = pid;
    this.#most = Math.ceil(mostProcesses / workers);
  }

  override read(now = performance.now()): void {
    // Not each read measures both.
    Object.assign(this, this.#own);
    super.read(now);
    this.#own = { memoryBytes: this.memoryBytes, cpuPercent: this.cpuPercent };
    if (now - this.#searchedAt >= searchInterval) {
      this.#searchedAt = now;
      const pids = descendantsOf(this.#pid, this.#most);
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
export function descendantsOf(pid: number, most = mostProcesses): number[] {
  const found: number[] = [];
  const waiting = [pid];
  let threadsLeft = most * threadsOfEach;
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    const threads = list(`/proc/${next}/task`).slice(0, threadsLeft);
    threadsLeft -= threads.length;
    for (const child of threads.flatMap((thread) => childrenOf(`/proc/${next}/task/${thread}`))) {
      if (found.length >= most) return found;
      found.push(child);
      waiting.push(child);
    }
  }
  return found;
}

/** Returns the names in a directory; none if the process has ended, or the runner may not or cannot read now. */
function list(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/** Returns the children of a thread; see `list`. */
function childrenOf(thread: string): number[] {
  try {
    const text = readFileSync(`${thread}/children`, 'latin1').trim();
    return text === '' ? [] : text.split(' ').map(Number);
  } catch {
    return [];
  }
}
