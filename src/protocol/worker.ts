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
  /** the socket between this worker and the runner: one JSON message a line, both ways */
  channelFd: number;
  /** the two ends of the socket pair through which the workers of an app pass connections to each other */
  handoffFds: { take: number; give: number };
  /** copies of the app's listening socket: the gate uses up one each time it is shut */
  gateFds: number[];
  /** whether workers of an earlier runner may still answer when it is to open */
  besideOrphans: boolean;
  /** of the handoff: the file names that of the active generation */
  handoffId: string;
  /** what to look at, and whom to tell, when the runner is gone */
  generationFile: string;
  /** by which the next runner knows it: that socket is open to all */
  secret: string;
  orphanSocket: string;
  /** milliseconds */
  drainTimeout: number;
  killTimeout: number;
  /** null where it has no say: see GenerationSpec */
  stopSignal: NodeJS.Signals | null;
  beatInterval: number;
  /** bytes; null for any */
  maxMemory: number | null;
  /** what becomes of what it prints when nobody reads it: see LogSpec */
  overflow: 'wait' | 'drop';
}

/** How the worker's private port is to be spoken to. */
export type AppProtocol = 'http' | 'https' | 'http2' | 'http2s' | 'tcp' | 'tls';

/** Runner → worker. */
export type ToWorker =
  /** `wait`: accept connections, and read nothing from them before `serve` */
  | { type: 'open'; wait: boolean }
  | { type: 'serve' }
  /** `last`: nobody takes over, so that idle connections are closed instead of given away */
  | { type: 'retire'; last: boolean }
  /** after `retire`: other workers have opened, so idle connections can leave, and ports beside the app's own can be shut */
  | { type: 'relieve' }
  /** name each request that is in flight by a `request`, then say `inFlight` */
  | { type: 'tellInFlight' };

/** Worker → runner. */
export type FromWorker =
  /** `onlyInterrupt`: it handles SIGINT, and SIGTERM not */
  | { type: 'ready'; port: number; protocol: AppProtocol; listens: number; onlyInterrupt: boolean }
  /** the app starts processes with node:cluster */
  | { type: 'forked' }
  | { type: 'opened' }
  /** also unasked: see `memoryExceeded` */
  | { type: 'retired' }
  | { type: 'drained' }
  /** is in flight; without the query */
  | { type: 'request'; method: string; path: string }
  /** how many requests are, and how many connections without one */
  | { type: 'inFlight'; requests: number; connections: number }
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

/**
 * Where there is a fresh generation, the two ends of its handoff come along: with `handoff` the one that connections are
 * taken out of, and with the `retire` behind it the one that they are put into. `last`: the app stops.
 */
export type ToOrphan = { type: 'handoff' | 'retire'; last?: boolean };
