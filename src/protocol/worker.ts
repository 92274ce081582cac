import type { GenerationSpec, SupervisionSpec } from './runner.ts';

/** Parts of its release's spec that a worker gets as they are. */
type PassedOn = 'key' | 'directory' | 'port' | 'codePort' | 'waitReady' | 'maxMemory' | OfEnd;
type OfEnd = 'stopSignal' | 'shutdownWithMessage' | 'drainTimeout' | 'killTimeout';

/**
 * Options of the bootstrap in each process of an exec worker: JSON in the variable SLUICE_WORKER, which all processes of the worker
 * inherit.
 */
export interface ExecBoot extends Pick<GenerationSpec, PassedOn> {
  generation: number;
  /** true if workers of an earlier runner may still answer when this worker opens */
  besideOrphans: boolean;
  /** file that names the active generation, for a worker without a runner */
  generationFile: string;
  /** proof for this runner and the next, because all users can connect to the orphan socket */
  secret: string;
  orphanSocket: string;
  /** ms */
  beatInterval: number;
  /** see LogSpec */
  overflow: 'wait' | 'drop';
}

/** Inboxes of a generation in which each client has a worker: see src/worker/affinity.cjs. */
export interface AffinityBoot {
  /** slot of this worker */
  slot: number;
  /** descriptors of the ends to take connections from, by slot */
  take: number[];
  /** descriptors of the ends to give connections to, by slot */
  give: number[];
}

/** Place of a process in the load table of its generation: see src/worker/load-table.cjs. */
export interface LoadBoot {
  /** descriptor of the table; for a member, in the process of the command */
  fd: number;
  /** number of its cell */
  cell: number;
  /** first bytes of the table, in hex */
  id: string;
}

/** Options of the bootstrap of any other worker, which removes the variable SLUICE_WORKER at once. */
export interface WorkerBoot extends ExecBoot {
  /** descriptor of the socket between this worker and the runner: one JSON message per line, both ways */
  channelFd: number;
  /** descriptors of the socket pair through which the workers of an app pass connections to each other */
  handoffFds: { take: number; give: number };
  /** copies of the app's listening socket: each acceptor uses up one */
  listeningFds: number[];
  /** null if any worker may serve any client */
  affinity: AffinityBoot | null;
  /** null if the worker has no siblings */
  load: LoadBoot | null;
  /** id of the handoff; the `generation` file has the id of the active generation's handoff */
  handoffId: string;
}

/** Protocol of the app's server. */
export type AppProtocol = 'http' | 'https' | 'http2' | 'http2s' | 'tcp' | 'tls';

/** Message of the runner to a worker. */
export type ToWorker =
  /** `wait`: accept connections, but read nothing from them before `serve` */
  | { type: 'open'; wait: boolean }
  | { type: 'serve' }
  /** `last`: no worker takes over, so idle connections are closed instead of moved */
  | { type: 'retire'; last: boolean }
  /**
   * after `retire`: idle connections can leave, and ports beside the app's own can be shut. Other workers have opened, unless
   * `beforeSuccessor`: then they start only after the end of this worker. `inboxes`: the whole generation retires, so the
   * connections in its inboxes can leave, too
   */
  | { type: 'handOff'; beforeSuccessor: boolean; inboxes: boolean }
  /** a worker has joined this one: even out idle connections */
  | { type: 'evenOut' }
  /** begin or end to send `responses` */
  | { type: 'count'; on: boolean }
  /** after `retire`: close all connections, whatever is in flight on them. The worker stays, and may open again */
  | { type: 'cut' }
  /** after `retire`: close all copies of the listening socket. The app has another port, and this worker never opens again */
  | { type: 'leavePort' }
  /** send a `request` for each request in flight, then `inFlight` */
  | { type: 'reportInFlight' }
  /** write the compiled code of the app to the disk, and answer with `saved` */
  | { type: 'save' }
  | ToBackground;

/** Message of the runner to a background process, or to a worker. */
export type ToBackground =
  /** pass the message `'shutdown'` to the app, which then ends: see `shutdownWithMessage` */
  { type: 'shutdown' };

/** Options of the bootstrap of a background process: JSON in the variable SLUICE_BACKGROUND, which the bootstrap removes. */
export interface BackgroundBoot extends Pick<SupervisionSpec, 'stopSignal' | 'shutdownWithMessage'> {
  /** directory of the release */
  directory: string;
  /** descriptor of the socket between the process and the runner: one JSON message per line, both ways */
  channelFd: number;
  /** see LogSpec */
  overflow: 'wait' | 'drop';
}

/** Metric that an app declares with `@pm2/io` or `pmx`. */
export interface AppMetric {
  /** at most 64 characters */
  name: string;
  /** a text has at most 64 characters */
  value: string | number | boolean;
  /** at most 16 characters; empty for none */
  unit: string;
}

/** Message of a worker or background process to its runner. */
export type FromWorker =
  /** `onlyInterrupt`: the app handles SIGINT but not SIGTERM */
  | { type: 'ready'; port: number; protocol: AppProtocol; listens: number; onlyInterrupt: boolean }
  /** a process of an exec worker listens on a port that is not the app's own */
  | { type: 'besides'; port: number }
  /** the app starts processes with node:cluster */
  | { type: 'forked' }
  | { type: 'opened' }
  | { type: 'saved' }
  /** sent after `retire`, and when the worker retires by itself: see `memoryExceeded` */
  | { type: 'retired' }
  | { type: 'drained' }
  /** a request in flight; the path is without its query */
  | { type: 'request'; method: string; path: string }
  /** number of requests in flight, and of connections without a request */
  | { type: 'inFlight'; requests: number; connections: number }
  /** the worker takes more than `maxMemory`; if it takes much more, it retires by itself */
  | { type: 'memoryExceeded'; bytes: number }
  /** a metric that the app has declared, and that has changed */
  | ({ type: 'metric' } & AppMetric)
  /** responses since the last such message: all, and those with a status from 500 to 599 */
  | { type: 'responses'; total: number; errors: number }
  /** sent by a background process: the app has called `process.send('ready')` */
  | { type: 'reported' }
  /** heartbeat; `eventLoopDelayMs` is its delay */
  | { type: 'beat'; eventLoopDelayMs: number; connections: number; requests: number };

/** Message of a worker that has lost its runner to the next runner, over the orphan socket: one JSON message per line. */
export type FromOrphan =
  /** `pid` of the worker; `member`: pid of this process of an exec worker */
  | { type: 'orphan'; key: string; pid: number; secret: string; member?: number }
  /** `lacksHandoff`: an end of the handoff is missing; the runner sends both ends again */
  | { type: 'retired'; lacksHandoff?: boolean }
  /** from a process of an exec worker, which never ends by itself */
  | { type: 'drained' };

/**
 * Message of a runner to an orphan. If there is a fresh generation, two messages carry the ends of its handoff:
 *
 * - `handoff` carries the end to take connections from.
 * - The `retire` right after it carries the end to put connections into, and the id of the handoff.
 *
 * An end is missing if the system refused it to the runner or to the orphan. `last`: the app stops.
 */
export type ToOrphan = { type: 'handoff' } | { type: 'retire'; handoff?: string; last?: boolean };

/**
 * First message of a process of an exec worker that listens, over the orphan socket. After `joined`, both sides send the messages of
 * any other worker.
 */
export interface MemberGreeting {
  type: 'member';
  key: string;
  pid: number;
  secret: string;
}

/**
 * Answer of a runner to a member. Each message carries a descriptor: `socket` a copy of the listening socket, `handoff` the end of
 * the handoff to take connections from, and `joined`, the last one, the end to put connections into.
 */
export type ToMember =
  | { type: 'socket' }
  | { type: 'handoff' }
  /** `handoff`: its id; `pid` of the worker; `load`: null if it has no place in the load table */
  | { type: 'joined'; handoff: string; pid: number; load: LoadBoot | null };
