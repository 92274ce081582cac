import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { delimiter } from 'node:path';
import type { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { AppError, errorBody } from '../../errors/app-error.ts';
import type { GenerationSpec } from '../../protocol/runner.ts';
import type { AffinityBoot, ExecBoot, LoadBoot, ToMember, WorkerBoot } from '../../protocol/worker.ts';
import { usualPath } from '../../system/process/run.ts';
import { type Masker, sharedMasker } from '../../system/text/mask/masker.ts';
import type { Allowance } from '../allowance.ts';
import { type ProcessContext, type StartOptions, startProcess } from '../app-process.ts';
import { systemClock } from '../clock.ts';
import type { Handoff, Inboxes } from '../handoff.ts';
import { workerVariables } from '../instance-variables.ts';
import { type ListeningPort, socketCopies } from '../ports/listening-port.ts';
import { sendHandles } from '../takeover/send-handle.ts';
import { TreeFigures } from '../tree-figures.ts';
import type { LoadTable } from './load-table.ts';
import { waitUntilHealthy } from './startup-check.ts';
import { WorkerHandle, type WorkerListener } from './worker-handle.ts';

const bootstrap = fileURLToPath(new URL('../../worker/bootstrap.cjs', import.meta.url));
/** Directory of a program `node` that loads the bootstrap even if NODE_OPTIONS does not. */
const execPath = fileURLToPath(new URL('../../worker/exec-path', import.meta.url));

/** File that the workers of some apps load, too: see src/deploy/spec.ts. */
const earlierAssets = fileURLToPath(new URL('../../static/earlier-assets.cjs', import.meta.url));

/** Numbers of the descriptors that a worker gets from the runner. */
const channelFd = 3;
const handoffFds = { take: 4, give: 5 };
const listeningFds = Array.from({ length: socketCopies }, (_, copy) => 6 + copy);
/** Numbers of the descriptor of the load table: shell scripts use numbers below 10 themselves. */
const loadFds = { file: 6 + socketCopies, command: 20 };

/** Parts of the runner that all workers of a generation use. */
export interface WorkerContext extends ProcessContext {
  port: ListeningPort;
  /** true if workers of an earlier runner may still answer at the switch to this generation */
  besideOrphans: boolean;
  orphanSocket: string;
  /** undefined if any worker may serve any client */
  inboxes: Inboxes | undefined;
  /** undefined if the workers have no siblings */
  loads: LoadTable | undefined;
  /** returns the handoff for a worker that is started now; undefined if the app has been stopped */
  handoff(): Promise<Handoff | undefined>;
  /** limit of all messages from the app's workers to the runner */
  allowance: Allowance;
  /** starts the process of a worker; tests pass another function */
  spawn?: typeof spawnWorker | undefined;
}

interface WorkerStarterOptions extends WorkerContext {
  generation: number;
  started(worker: WorkerHandle): void;
  listener: WorkerListener;
}

export type StartWorker = ReturnType<typeof workerStarter>;

/** Returns a function that starts a worker of a generation. */
export function workerStarter(options: WorkerStarterOptions) {
  const { spec, spawn = spawnWorker } = options;
  /**
   * Starts a worker, and waits until it is healthy. Kills a worker that fails to start.
   * @param report called with a line for the deploy's log
   * @param started called as soon as there is a process
   * @throws NotStarted, the errors of `waitUntilHealthy`, the reason of `signal`
   */
  return async (
    instance: number,
    report: (line: string) => void,
    signal: AbortSignal,
    started?: (worker: WorkerHandle) => void,
  ): Promise<WorkerHandle> => {
    signal.throwIfAborted();
    const worker = await spawn(options, instance, signal).catch((error: unknown) => {
      signal.throwIfAborted();
      throw new NotStarted(instance, error, sharedMasker(spec.log.secrets));
    });
    options.started(worker);
    started?.(worker);
    const listens = () => report(`worker ${instance} listens (pid ${worker.pid})`);
    try {
      await waitUntilHealthy(worker, spec, listens, signal);
      return worker;
    } catch (error) {
      worker.kill();
      // Processes of a command may have the port for a moment longer than its shell.
      await (spec.exec === undefined ? worker.exited : worker.gone);
      throw error;
    }
  };
}

/** Error for a worker without a process, whose exit nobody can wait for. */
export class NotStarted extends AppError {
  /** @param masker because the engine quotes the argument or the variable that it refuses */
  constructor(instance: number, error: unknown, masker: Masker) {
    const { code, message, hint } = errorBody(error);
    const isKnown = code !== 'internal';
    const why = masker.maskText(isKnown ? message : (error as Error).message);
    super(isKnown ? code : 'boot_exited', `worker ${instance} could not be started: ${why}`, { hint });
  }
}

/** Starts the process of a worker. @throws the errors of startProcess, the reason of `signal` */
async function spawnWorker(
  options: WorkerStarterOptions,
  instance: number,
  signal: AbortSignal,
): Promise<WorkerHandle> {
  const { spec, generation, besideOrphans, orphanSocket } = options;
  const { key, directory, port, codePort, waitReady, drainTimeout, killTimeout, maxMemory } = spec;
  const { stopSignal, shutdownWithMessage } = spec;
  const { renewals } = options.port;
  const passedOn = {
    ...{ key, directory, port, codePort, waitReady, drainTimeout, killTimeout, maxMemory },
    ...{ stopSignal, shutdownWithMessage },
  };
  using stack = new DisposableStack();
  const place = spec.exec === undefined ? options.loads?.take(renewals) : undefined;
  if (place !== undefined) stack.use(place);
  const started = await startProcess(options, `web.${instance}`, async () => {
    const handoff = await options.handoff();
    signal.throwIfAborted();
    if (handoff === undefined) throw new Error('its app has been stopped');
    const secret = randomBytes(16).toString('hex');
    const boot: ExecBoot = {
      ...passedOn,
      generation,
      generationFile: spec.paths.generation,
      besideOrphans,
      secret,
      orphanSocket,
      beatInterval: beatInterval(spec),
      overflow: spec.log.overflow,
    };
    const start =
      spec.exec === undefined
        ? startOfFile(options, boot, handoff, instance, place?.boot(loadFds.file) ?? null)
        : startOfCommand(spec, spec.exec.command, boot, options.loads);
    return {
      ...start,
      kind: 'worker',
      env: { ...start.env, ...workerVariables(spec, instance) },
      workingDirectory: spec.workingDirectory,
      record: { secret, drainTimeout, killTimeout, ...start.record },
      handoff,
      secret,
    };
  });
  const { child, pid, handoff } = started;
  const handle = { ...options, ...started, instance, renewals, clock: systemClock };
  if (spec.exec === undefined) {
    const worker = new WorkerHandle({ ...handle, channel: child.stdio[channelFd] as Duplex });
    const taken = stack.move();
    void worker.exited.then(() => taken.dispose());
    return worker;
  }
  const channel = (socket: Socket, worker: number) => welcome(socket, { ...options, handoff, worker });
  return new WorkerHandle({ ...handle, channel, figures: new TreeFigures(pid, spec.workers), isShell: true });
}

/** Parts of a start that differ between the two modes. */
type Start = Pick<StartOptions, 'program' | 'args' | 'env' | 'stdio' | 'record'>;

function startOfFile(
  { spec, port, inboxes, loads }: WorkerStarterOptions,
  common: ExecBoot,
  handoff: Handoff,
  instance: number,
  load: LoadBoot | null,
): Start {
  const affinity = inboxes === undefined ? null : affinityOf(instance, inboxes);
  const fds = { channelFd, handoffFds, listeningFds };
  const boot: WorkerBoot = { ...common, ...fds, affinity, load, handoffId: handoff.id };
  return {
    args: ['--require', bootstrap, ...spec.nodeArgs, spec.script, ...spec.args],
    env: { SLUICE_WORKER: JSON.stringify(boot) },
    stdio: [
      ...(['pipe', handoff.take, handoff.give] as const),
      ...listeningFds.map(() => port.fd),
      ...(inboxes === undefined ? [] : socketsOf(inboxes)),
      ...(load === null || loads === undefined ? [] : [loads.fd]),
    ],
    record: {},
  };
}

/** Returns the sockets of the inboxes that a worker gets: the ends to take from, and the ends to give to. */
function socketsOf({ all }: Inboxes): Socket[] {
  return [...all.map(({ take }) => take), ...all.map(({ give }) => give)];
}

/** Returns the descriptors of these sockets in the worker. */
function affinityOf(slot: number, { all }: Inboxes): AffinityBoot {
  const first = listeningFds.length + 6;
  const take = all.map((_, index) => first + index);
  return { slot, take, give: take.map((fd) => fd + all.length) };
}

type CommandSpec = Pick<GenerationSpec, 'node' | 'env' | 'stopSignal' | 'shutdownWithMessage'>;

/** All processes of the command inherit the bootstrap and its options. The runner measures their memory. */
export function startOfCommand(
  { node, env, stopSignal, shutdownWithMessage }: CommandSpec,
  command: string,
  boot: ExecBoot,
  loads?: LoadTable,
): Start {
  const files = env['SLUICE_EARLIER_ASSETS'] === undefined ? [bootstrap] : [bootstrap, earlierAssets];
  const require = files.map((file) => `--require ${JSON.stringify(file)}`).join(' ');
  return {
    program: '/bin/sh',
    args: ['-c', command],
    env: {
      PATH: [execPath, env['PATH'] ?? usualPath].join(delimiter),
      NODE_OPTIONS: [require, env['NODE_OPTIONS'] ?? ''].join(' ').trim(),
      SLUICE_NODE: node,
      SLUICE_NODE_OPTIONS: require,
      SLUICE_WORKER: JSON.stringify({ ...boot, maxMemory: null }),
    },
    stdio: loads === undefined ? [] : [...Array<'ignore'>(loadFds.command - 3).fill('ignore'), loads.fd],
    record: {
      exec: true,
      ...(stopSignal && { stopSignal }),
      ...(shutdownWithMessage && { shutdownWithMessage }),
    },
  };
}

interface Welcome {
  port: ListeningPort;
  loads: LoadTable | undefined;
  handoff: Handoff;
  /** pid of the worker */
  worker: number;
}

/** Sends a member of an exec worker its descriptors: see ToMember. @returns false if the system refuses one */
function welcome(socket: Socket, { port, loads, handoff, worker }: Welcome): Promise<boolean> {
  const place = loads?.take(port.renewals);
  socket.once('close', () => place?.[Symbol.dispose]());
  const load = place?.boot(loadFds.command) ?? null;
  const text = (message: ToMember) => `${JSON.stringify(message)}\n`;
  const copy = { text: text({ type: 'socket' }), sent: port };
  return sendHandles(socket, [
    ...Array<typeof copy>(socketCopies).fill(copy),
    { text: text({ type: 'handoff' }), sent: handoff.take },
    { text: text({ type: 'joined', handoff: handoff.id, pid: worker, load }), sent: handoff.give },
  ]);
}

/** Returns the interval between two heartbeats, in ms: a fraction of `stuckTimeout`. */
function beatInterval({ stuckTimeout }: GenerationSpec): number {
  return stuckTimeout === 0 ? 2000 : Math.max(100, Math.min(2000, stuckTimeout / 4));
}
