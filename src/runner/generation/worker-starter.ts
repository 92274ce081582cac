import { randomBytes, randomUUID } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { AppError, errorBody } from '../../errors/app-error.ts';
import type { GenerationSpec, Notice } from '../../protocol/runner.ts';
import type { WorkerBoot } from '../../protocol/worker.ts';
import { type Masker, sharedMasker } from '../../system/text/mask/masker.ts';
import type { Allowance } from '../allowance.ts';
import type { Cgroup } from '../cgroups/cgroup.ts';
import { type Clock, systemClock } from '../clock.ts';
import { type Exit, noExit } from '../exit.ts';
import type { Handoff } from '../handoff.ts';
import { endLeftovers, jobMark } from '../jobs/leftovers.ts';
import type { Outputs } from '../output/outputs.ts';
import type { ProcessOutput } from '../output/process-output.ts';
import { spawnCaptured } from '../output/spawn-captured.ts';
import { type ListeningPort, socketCopies } from '../ports/listening-port.ts';
import type { ProcessRecords } from '../takeover/process-records.ts';
import type { Identity } from '../users/identity.ts';
import { waitUntilHealthy } from './startup-check.ts';
import type { StartupFailures } from './startup-failure.ts';
import { type Ready, WorkerHandle, type WorkerListener } from './worker-handle.ts';

const bootstrap = fileURLToPath(new URL('../../worker/bootstrap.cjs', import.meta.url));

/** Numbers of the descriptors that a worker gets from the runner. */
const channelFd = 3;
const handoffFds = { take: 4, give: 5 };
const firstListeningFd = 6;

/** Parts of the runner that all workers of a generation use. */
export interface WorkerContext {
  spec: GenerationSpec;
  port: ListeningPort;
  /** true if workers of an earlier runner may still answer at the switch to this generation */
  besideOrphans: boolean;
  orphanSocket: string;
  records: ProcessRecords;
  /** returns the user of the workers, if apps have users */
  user(): Identity | undefined;
  /** cgroup that limits the workers */
  group: Cgroup;
  outputs: Outputs;
  /** returns the handoff for a worker that is started now; undefined if the app has been stopped */
  handoff(): Promise<Handoff | undefined>;
  /** limit of all messages from the app's workers to the runner */
  allowance: Allowance;
  /** starts the process of a worker; tests pass another function */
  spawn?: typeof spawnWorker | undefined;
  clock?: Clock | undefined;
}

interface WorkerStarterOptions extends WorkerContext {
  generation: number;
  failures: StartupFailures;
  /** notices about the app are added here */
  notices: Notice[];
  started(worker: WorkerHandle): void;
  listener: WorkerListener;
}

/** Starts workers of one generation, and waits until they are healthy. */
export class WorkerStarter {
  readonly #options: WorkerStarterOptions;

  constructor(options: WorkerStarterOptions) {
    this.#options = options;
  }

  /**
   * Starts a worker, and waits until it is healthy. Kills a worker that fails to start.
   * @param report called with a line for the deploy's log
   * @param started called as soon as there is a process
   * @throws NotStarted, the errors of `waitUntilHealthy`, the reason of `signal`
   */
  async start(
    instance: number,
    report: (line: string) => void,
    signal: AbortSignal,
    started: (worker: WorkerHandle) => void = () => undefined,
  ): Promise<WorkerHandle> {
    signal.throwIfAborted();
    const { spec, failures } = this.#options;
    const worker = await this.#spawn(instance, signal);
    started(worker);
    const listens = (ready: Ready) => {
      report(`worker ${instance} listens (pid ${worker.pid})`);
      if (instance === 0) this.#noteUnusual(ready);
    };
    try {
      await waitUntilHealthy(worker, spec, failures, listens, signal);
      return worker;
    } catch (error) {
      worker.kill();
      await worker.exited;
      throw error;
    }
  }

  async #spawn(instance: number, signal: AbortSignal): Promise<WorkerHandle> {
    const { spec, outputs, spawn = spawnWorker } = this.#options;
    const user = this.#options.user();
    let output: ProcessOutput | undefined;
    try {
      output = await outputs.open(spec.log, { release: spec.release, process: `web.${instance}` }, user);
      const handoff = await this.#options.handoff();
      signal.throwIfAborted();
      if (handoff === undefined) throw new Error('its app has been stopped');
      const worker = spawn({ ...this.#options, handoff, instance, user, output });
      this.#options.started(worker);
      return worker;
    } catch (error) {
      output?.remove();
      if (output !== undefined && signal.aborted) throw signal.reason;
      throw new NotStarted(instance, error, sharedMasker(spec.log.secrets));
    }
  }

  #noteUnusual({ listens, onlyInterrupt }: Ready): void {
    const { port, codePort } = this.#options.spec;
    if (listens !== port && listens !== codePort)
      this.#note({
        code: 'hardcoded_port',
        message: `the app listens on ${listens} and not on PORT (${port}); Sluice serves it on ${port} all the same`,
        hint: `Use process.env.PORT in its listen(), or set "port": ${listens} in sluice.json to confirm that port.`,
      });
    if (onlyInterrupt)
      this.#note({
        code: 'sigint_only',
        message: 'The app handles SIGINT but not SIGTERM, so Sluice ends it with SIGINT.',
        hint: 'To choose the signal, set "stopSignal" in sluice.json.',
      });
  }

  #note(notice: Notice): void {
    const { notices } = this.#options;
    if (!notices.some(({ code }) => code === notice.code)) notices.push(notice);
  }
}

/** Error for a worker without a process, whose exit nobody can wait for. */
export class NotStarted extends AppError {
  /** @param masker because the engine quotes the argument or the variable that it refuses */
  constructor(instance: number, error: unknown, masker: Masker) {
    const { code, message, hint } = errorBody(error);
    const why = masker.maskText(code === 'internal' ? (error as Error).message : message);
    super(code, `worker ${instance} could not be started: ${why}`, { hint });
  }
}

interface SpawnOptions
  extends Pick<
    WorkerContext,
    'spec' | 'port' | 'besideOrphans' | 'orphanSocket' | 'records' | 'group' | 'allowance' | 'clock'
  > {
  generation: number;
  instance: number;
  handoff: Handoff;
  user: Identity | undefined;
  output: ProcessOutput;
  listener: WorkerListener;
}

/** Starts the process of a worker. @throws the errors of spawnCaptured */
function spawnWorker(options: SpawnOptions): WorkerHandle {
  const { spec, generation, instance, port, handoff, orphanSocket, records, user, group, output } = options;
  const boot: WorkerBoot = {
    key: spec.key,
    generation,
    port: spec.port,
    codePort: spec.codePort,
    waitReady: spec.waitReady,
    channelFd,
    handoffFds,
    listeningFds: Array.from({ length: socketCopies }, (_, copy) => firstListeningFd + copy),
    besideOrphans: options.besideOrphans,
    handoffId: handoff.id,
    generationFile: spec.paths.generation,
    secret: randomBytes(16).toString('hex'),
    orphanSocket,
    drainTimeout: spec.drainTimeout,
    killTimeout: spec.killTimeout,
    stopSignal: spec.stopSignal,
    beatInterval: beatInterval(spec),
    maxMemory: spec.maxMemory,
    overflow: spec.log.overflow,
  };
  const mark = randomUUID();
  const env = {
    ...spec.env,
    [jobMark]: mark,
    NODE_APP_INSTANCE: String(instance),
    SLUICE_WORKER: JSON.stringify(boot),
  };
  const child = spawnCaptured(
    output,
    [spec.node, '--require', bootstrap, ...spec.nodeArgs, spec.script, ...spec.args],
    { cwd: spec.directory, env, user },
    ['pipe', handoff.take, handoff.give, ...boot.listeningFds.map(() => port.fd)],
    (pid) => {
      group.add(pid);
      const { drainTimeout, killTimeout } = spec;
      records.add('worker', spec.key, pid, { mark, secret: boot.secret, drainTimeout, killTimeout });
    },
  );
  const pid = child.pid ?? 0;
  const exited = Promise.withResolvers<Exit>();
  child.on('exit', async (code, signal) => {
    const shortage = signal === 'SIGKILL' ? group.killedBy() : undefined;
    // If the runner is late, the exit may arrive before the worker's last messages. After this turn all of them are read.
    await nextTurn();
    exited.resolve({ code, signal, shortage });
  });
  // Without a pid, no `exit` follows. Other errors precede an exit.
  child.on('error', () => {
    if (pid === 0) exited.resolve(noExit);
  });
  return new WorkerHandle({
    ...options,
    pid,
    channel: child.stdio?.[channelFd] as Duplex | undefined,
    exited: exited.promise,
    endLeftovers: (killTimeout) => endLeftovers({ pid, mark, user }, killTimeout),
    stopSignal: spec.stopSignal ?? 'SIGTERM',
    killTimeout: spec.killTimeout,
    clock: options.clock ?? systemClock,
  });
}

/** Returns the interval between two heartbeats, in ms: a fraction of `stuckTimeout`. */
function beatInterval({ stuckTimeout }: GenerationSpec): number {
  return stuckTimeout === 0 ? 2000 : Math.max(100, Math.min(2000, stuckTimeout / 4));
}
