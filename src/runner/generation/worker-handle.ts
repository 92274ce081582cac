import type { ChildProcess } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { GenerationSpec, WorkerState } from '../../protocol/runner.ts';
import { protocolVersion } from '../../protocol/version.ts';
import type { AppProtocol, FromWorker, ToWorker, WorkerBoot } from '../../protocol/worker.ts';
import { withDeadline } from '../../system/concurrency/deadline.ts';
import { describeError } from '../../system/log/log.ts';
import { signalProcess } from '../../system/process/processes.ts';
import type { Allowance } from '../allowance.ts';
import type { Cgroup } from '../cgroups/cgroup.ts';
import { endProcess } from '../end-process.ts';
import type { Exit } from '../exit.ts';
import type { Handoff } from '../handoff.ts';
import { describeLeftovers, type Ended, endLeftovers, jobMark } from '../jobs/leftovers.ts';
import type { ProcessOutput } from '../output/process-output.ts';
import { spawnCaptured } from '../output/spawn-captured.ts';
import { gateCopies, type ListeningPort } from '../ports/listening-port.ts';
import { ProcessFigures } from '../process-figures.ts';
import type { ProcessRecords } from '../takeover/process-records.ts';
import type { Identity } from '../users/identity.ts';
import { WorkerChannel } from './worker-channel.ts';

const bootstrap = fileURLToPath(new URL('../../worker/bootstrap.cjs', import.meta.url));

/** Numbers of the descriptors that a worker gets from the runner. */
const channelFd = 3;
const handoffFds = { take: 4, give: 5 };
const firstGateFd = 6;

export type Ready = Extract<FromWorker, { type: 'ready' }>;

/** State of a worker, as it reports it. */
interface Beat {
  eventLoopDelayMs: number;
  connections: number;
  requests: number;
}

/** Unfinished work of a worker. `told` has the request lines of some requests, without the query. */
export interface InFlight {
  requests: number;
  /** number of connections without an HTTP request, such as WebSockets */
  connections: number;
  told: string[];
}

/** Time for a worker to report its requests in flight, in ms. */
const tellsWithin = 500;
/** Limits the requests that a worker may name. */
const mostTold = 20;

/** What a worker tells beyond the steps of its own life. */
export interface WorkerListener {
  /** called when the worker exceeds its memory limit, or no longer accepts requests for that reason */
  memoryExceeded(worker: WorkerHandle): void;
  exited(worker: WorkerHandle, exit: Exit): void;
}

interface WorkerOptions {
  spec: GenerationSpec;
  generation: number;
  instance: number;
  port: ListeningPort;
  besideOrphans: boolean;
  handoff: Handoff;
  allowance: Allowance;
  orphanSocket: string;
  records: ProcessRecords;
  user: Identity | undefined;
  group: Cgroup;
  output: ProcessOutput;
  listener: WorkerListener;
}

/** The runner's view of one worker: its process, and where in its life it is. */
export class WorkerHandle {
  readonly instance: number;
  readonly pid: number;
  readonly startedAt = new Date();
  readonly output: ProcessOutput;
  readonly handoff: Handoff;
  readonly figures: ProcessFigures;
  /** fulfilled when it listens; never if it does not */
  readonly ready: Promise<Ready>;
  readonly exited: Promise<Exit>;
  /** fulfilled when the app starts processes with node:cluster; never if it does not */
  readonly forked: Promise<void>;
  /** fulfilled when the worker and its children are gone */
  readonly gone: Promise<void>;
  /** where it listens now: an app may close its server and listen again */
  listening: Ready | undefined;
  /** protocol that the last health check has found; undefined before the first check */
  protocol: AppProtocol | undefined;
  state: WorkerState = 'booting';
  isKilled = false;
  /** whether it has been told to take no more requests */
  isRetiring = false;
  /** the last heartbeat; undefined before the worker listens */
  beat: Beat | undefined;
  /** attended time since the last heartbeat, in ms: see Ticker */
  silentFor = 0;
  readonly #records: ProcessRecords;
  readonly #child: ChildProcess;
  readonly #channel: WorkerChannel | undefined;
  #opened = Promise.withResolvers<void>();
  #retired = Promise.withResolvers<void>();
  #drained = Promise.withResolvers<void>();
  readonly #stopSignal: NodeJS.Signals;
  #end: Promise<void> | undefined;
  /** request lines in flight that arrive for a pending query */
  #inFlight: { requests: string[]; told: PromiseWithResolvers<InFlight> } | undefined;
  #readyAt: number | undefined;
  #goneAt: number | undefined;

  constructor(options: WorkerOptions) {
    const { spec, generation, instance, port, handoff, allowance } = options;
    const { orphanSocket, records, user, group, output, listener } = options;
    this.instance = instance;
    this.output = output;
    this.handoff = handoff;
    this.#records = records;
    const boot: WorkerBoot = {
      version: protocolVersion,
      key: spec.key,
      generation,
      release: spec.release,
      port: spec.port,
      codePort: spec.codePort,
      waitReady: spec.waitReady,
      channelFd,
      handoffFds,
      gateFds: Array.from({ length: gateCopies }, (_, copy) => firstGateFd + copy),
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
    this.#child = spawnCaptured(
      output,
      [spec.node, '--require', bootstrap, ...spec.nodeArgs, spec.script, ...spec.args],
      { cwd: spec.directory, env, user },
      ['pipe', handoff.take, handoff.give, ...boot.gateFds.map(() => port.fd)],
      (pid) => {
        group.add(pid);
        const { drainTimeout, killTimeout } = spec;
        records.add('worker', spec.key, pid, { mark, secret: boot.secret, drainTimeout, killTimeout });
      },
    );
    this.pid = this.#child.pid ?? 0;
    this.figures = new ProcessFigures(this.pid);
    const ready = Promise.withResolvers<Ready>();
    const forked = Promise.withResolvers<void>();
    const exited = Promise.withResolvers<Exit>();
    this.ready = ready.promise;
    this.exited = exited.promise;
    this.forked = forked.promise;
    this.#stopSignal = spec.stopSignal ?? 'SIGTERM';
    this.gone = this.exited.then(() => this.#endRemains({ pid: this.pid, mark, user }, spec.killTimeout));

    const receive = (body: FromWorker) => {
      switch (body.type) {
        case 'ready':
          if (this.state === 'booting') this.state = 'ready';
          this.#readyAt ??= performance.now();
          this.listening = body;
          this.beat ??= { eventLoopDelayMs: 0, connections: 0, requests: 0 };
          return ready.resolve(body);
        case 'beat':
          this.beat = body;
          this.silentFor = 0;
          return;
        case 'memoryExceeded':
          this.figures.memoryBytes = body.bytes;
          return listener.memoryExceeded(this);
        case 'forked':
          return forked.resolve();
        case 'opened':
          if (this.state === 'opening') this.state = 'open';
          return this.#opened.resolve();
        // Said before it was opened again, these are out of date; after its exit too.
        case 'retired':
          if (this.state !== 'open') return;
          this.state = 'retired';
          this.#retired.resolve();
          if (this.isRetiring) return;
          // The worker has retired by itself.
          void this.retire(false);
          return listener.memoryExceeded(this);
        case 'drained':
          if (this.state !== 'retired') return;
          this.state = 'drained';
          return this.#drained.resolve();
        case 'request':
          if ((this.#inFlight?.requests.length ?? mostTold) < mostTold)
            this.#inFlight?.requests.push(`${body.method} ${body.path}`);
          return;
        case 'inFlight':
          return this.#inFlight?.told.resolve({ ...body, told: this.#inFlight.requests });
      }
    };
    // Undefined if the process could not be started.
    const socket = this.#child.stdio?.[channelFd] as Socket | undefined;
    this.#channel =
      socket &&
      new WorkerChannel(socket, {
        allowance,
        message: receive,
        refused: () => {
          output.note(
            `web.${instance} (pid ${this.pid}) wrote into the channel between it and Sluice, and is ended`,
          );
          this.kill();
        },
      });
    const ended = (exit: Exit) => {
      if (this.state === 'exited') return;
      this.state = 'exited';
      this.#goneAt = performance.now();
      this.#channel?.close();
      records.remove(this.pid);
      void output.processEnded();
      this.#opened.resolve();
      this.#retired.resolve();
      this.#drained.resolve();
      exited.resolve(exit);
      listener.exited(this, exit);
    };
    this.#child.on('exit', (code, signal) => {
      const shortage = signal === 'SIGKILL' ? group.killedBy() : undefined;
      // If the runner is late, the exit may arrive before the worker's last messages. After this turn all of them are read.
      setImmediate(ended, { code, signal, shortage });
    });
    // Without a pid it was never started, and no 'exit' follows. Other errors, of `send`, precede an exit.
    this.#child.on('error', () => {
      if (this.pid === 0) ended({ code: null, signal: null });
    });
  }

  /** How long it has been up, in ms, or was; 0 where it never listened. */
  upFor(): number {
    return this.#readyAt === undefined ? 0 : (this.#goneAt ?? performance.now()) - this.#readyAt;
  }

  get alive(): boolean {
    return this.state !== 'exited';
  }

  post(message: ToWorker): void {
    this.#channel?.post(message);
  }

  /**
   * Opens the worker. Fulfilled when it accepts connections, or is gone. May follow `retire` if a switch has failed.
   * @param wait true if it may not read from connections before `serve`
   */
  open({ wait = false } = {}): Promise<void> {
    if (this.state === 'retired' || this.state === 'drained') {
      this.#retired = Promise.withResolvers();
      this.#drained = Promise.withResolvers();
    }
    this.isRetiring = false;
    this.state = 'opening';
    this.#opened = Promise.withResolvers();
    this.post({ type: 'open', wait });
    return this.#opened.promise;
  }

  /**
   * Fulfilled when it takes no new request, or is gone.
   * @param last whether nobody takes over
   */
  retire(last: boolean): Promise<void> {
    if (!this.isRetiring || last) this.post({ type: 'retire', last });
    this.isRetiring = true;
    return this.#retired.promise;
  }

  /** Records that the worker will not be opened again: it drains from now on, whichever runner follows. */
  noteRetired(): void {
    this.#records.noteRetired(this.pid);
  }

  /** Lets a retired worker shut the ports besides the app's own, because other workers have them. */
  relieve(): void {
    this.post({ type: 'relieve' });
  }

  /** Fulfilled when nothing is in flight any more after `retire`, or it is gone. */
  get drained(): Promise<void> {
    return this.#drained.promise;
  }

  /**
   * Asks the worker for its requests and connections in flight.
   * @returns undefined if the worker does not answer in time
   */
  async inFlight(): Promise<InFlight | undefined> {
    this.#inFlight ??= { requests: [], told: Promise.withResolvers() };
    this.post({ type: 'reportInFlight' });
    const outcome = await withDeadline(this.#inFlight.told.promise, tellsWithin);
    this.#inFlight = undefined;
    return outcome.timedOut ? undefined : outcome.value;
  }

  /** The stop signal, once, and SIGKILL to all of its session after `killTimeout` ms. */
  end(killTimeout: number): Promise<void> {
    if (!this.alive || this.pid === 0) return this.gone;
    this.#end ??= this.#endNow(killTimeout);
    return this.#end;
  }

  async #endNow(killTimeout: number): Promise<void> {
    const options = { signal: this.#stopSignal, killTimeout, gone: this.exited };
    const why = await endProcess(this.pid, options);
    if (why !== undefined) await this.#say(why);
    await this.gone;
  }

  async #endRemains(remains: Ended, killTimeout: number): Promise<void> {
    if (this.pid === 0) return;
    try {
      const killed = await endLeftovers(remains, this.isKilled ? 0 : killTimeout);
      if (killed > 0 && !this.isKilled) await this.#say(describeLeftovers(killed, killTimeout));
    } catch (error) {
      await this.#say(`may have left processes behind: ${describeError(error)}`);
    }
  }

  /** Logs a line about the end of the worker, after the worker's own last lines. */
  async #say(what: string): Promise<void> {
    await this.output.end();
    this.output.note(`worker ${this.instance} (pid ${this.pid}) ${what}`);
  }

  kill(): void {
    this.isKilled = true;
    if (this.alive && this.pid !== 0) signalProcess(-this.pid, 'SIGKILL');
  }
}

/** How often a worker says that it lives, in ms: often enough to be missed in time. */
function beatInterval({ stuckTimeout }: GenerationSpec): number {
  return stuckTimeout === 0 ? 2000 : Math.max(100, Math.min(2000, stuckTimeout / 4));
}
