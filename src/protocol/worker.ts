/** What a worker's bootstrap is told at its start, as JSON in the variable SLUICE_WORKER; it removes it at once. */
export interface WorkerBoot {
  version: number;
  key: string;
  generation: number;
  release: number;
  /** the port that PORT names */
  port: number;
  codePort: number | null;
  waitReady: boolean;
  /** copies of the app's listening socket: the gate uses up one each time it is shut */
  gateFds: number[];
  /** what to look at, and whom to tell, when the runner is gone */
  generationFile: string;
  /** by which the next runner knows it: that socket is open to all */
  secret: string;
  orphanSocket: string;
  /** milliseconds */
  drainTimeout: number;
  killTimeout: number;
  beatInterval: number;
  /** bytes; null for any */
  maxMemory: number | null;
  /** what becomes of what it prints when nobody reads it: see LogSpec */
  overflow: 'wait' | 'drop';
}

/** How the worker's private port is to be spoken to. */
export type AppProtocol = 'http' | 'https' | 'http2' | 'http2s' | 'tcp' | 'tls';

/**
 * Runner → worker. A connection that moves house goes through four hands so that at no instant two processes read
 * from it: `connection` (old → runner), `offer` (runner → new), `held` (new → runner), then `moved` (runner → old,
 * which closes its copy) and `take` (runner → new, which starts to read).
 */
export type ToWorker =
  | { type: 'open' }
  /** `last`: nobody takes over, so that idle connections are closed instead of moved */
  | { type: 'retire'; last: boolean }
  | { type: 'offer'; connection: number }
  | { type: 'take'; connection: number }
  | { type: 'moved'; connection: number }
  /** nobody could take it: go on serving it */
  | { type: 'kept'; connection: number };

/** Worker → runner. */
export type FromWorker =
  | { type: 'ready'; port: number; protocol: AppProtocol; listens: number }
  | { type: 'opened' }
  /** also unasked: see `memoryExceeded` */
  | { type: 'retired' }
  | { type: 'drained' }
  | { type: 'connection'; connection: number }
  | { type: 'held'; connection: number }
  /** it takes more than `maxMemory`; when it takes much more it retires by itself */
  | { type: 'memoryExceeded'; bytes: number }
  /** its event loop turns; `eventLoopDelayMs` is by how much this was late */
  | { type: 'beat'; eventLoopDelayMs: number; connections: number; requests: number };

/** A worker that lost its runner, to whichever runner comes next, over the orphan socket: one JSON message a line. */
export type FromOrphan =
  | {
      type: 'orphan';
      version: number;
      key: string;
      generation: number;
      release: number;
      pid: number;
      secret: string;
    }
  | { type: 'retired' };

export type ToOrphan = { type: 'retire' };
