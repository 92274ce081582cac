import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { GenerationSpec, WorkerState } from '../protocol/runner.ts';
import { protocolVersion } from '../protocol/version.ts';
import type { FromWorker, ToWorker, WorkerBoot } from '../protocol/worker.ts';
import { signalProcess } from '../system/processes.ts';
import { generationLog } from './generation-log.ts';
import { gateCopies, type ListeningPort } from './listening-port.ts';
import type { ProcessRecords } from './process-records.ts';

const bootstrap = fileURLToPath(new URL('../worker/bootstrap.cjs', import.meta.url));

/** See src/worker/channel.cjs: what Node's IPC keeps from the app. */
const command = 'NODE_SLUICE';

export interface WorkerExit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export type Ready = Extract<FromWorker, { type: 'ready' }>;

/** What a worker tells beyond the steps of its own life. */
export interface WorkerListener {
  /** an idle connection looks for a new home */
  connection(worker: WorkerProcess, connection: number, handle: unknown): void;
  held(worker: WorkerProcess, connection: number): void;
  exited(worker: WorkerProcess, exit: WorkerExit): void;
}

export interface WorkerOptions {
  spec: GenerationSpec;
  generation: number;
  instance: number;
  port: ListeningPort;
  orphanSocket: string;
  records: ProcessRecords;
  listener: WorkerListener;
}

/** The runner's view of one worker: its process, and where in its life it is. */
export class WorkerProcess {
  readonly instance: number;
  readonly generation: number;
  readonly pid: number;
  readonly startedAt = new Date();
  /** fulfilled when it listens; never if it does not */
  readonly ready: Promise<Ready>;
  readonly exited: Promise<WorkerExit>;
  /** where it listens now: an app may close its server and listen again */
  listening: Ready | undefined;
  state: WorkerState = 'booting';
  readonly #child: ChildProcess;
  #opened = Promise.withResolvers<void>();
  #retired = Promise.withResolvers<void>();
  #drained = Promise.withResolvers<void>();

  constructor({ spec, generation, instance, port, orphanSocket, records, listener }: WorkerOptions) {
    this.instance = instance;
    this.generation = generation;
    const boot: WorkerBoot = {
      version: protocolVersion,
      key: spec.key,
      generation,
      release: spec.release,
      port: spec.port,
      codePort: spec.codePort,
      waitReady: spec.waitReady,
      gateFds: Array.from({ length: gateCopies }, (_, copy) => 4 + copy),
      generationFile: spec.paths.generation,
      orphanSocket,
      drainTimeout: spec.drainTimeout,
      killTimeout: spec.killTimeout,
    };
    const log = openSync(generationLog(spec, generation), 'a', 0o640);
    try {
      this.#child = spawn(spec.node, ['--require', bootstrap, ...spec.nodeArgs, spec.script, ...spec.args], {
        cwd: spec.directory,
        env: {
          ...spec.env,
          PORT: String(spec.port),
          NODE_APP_INSTANCE: String(instance),
          SLUICE_WORKER: JSON.stringify(boot),
        },
        // The file itself, not a pipe through us: what the app prints is kept though we die.
        stdio: ['ignore', log, log, 'ipc', ...boot.gateFds.map(() => port.fd)],
        // A session of its own: Ctrl-C in our terminal is not for the app.
        detached: true,
      });
    } finally {
      closeSync(log);
    }
    this.pid = this.#child.pid ?? 0;

    const ready = Promise.withResolvers<Ready>();
    const exited = Promise.withResolvers<WorkerExit>();
    this.ready = ready.promise;
    this.exited = exited.promise;

    this.#child.on('internalMessage', (message: { cmd: string; body: FromWorker }, handle: unknown) => {
      if (message.cmd !== command) return;
      const { body } = message;
      switch (body.type) {
        case 'ready':
          if (this.state === 'booting') this.state = 'ready';
          this.listening = body;
          return ready.resolve(body);
        case 'opened':
          if (this.state === 'opening') this.state = 'open';
          return this.#opened.resolve();
        // Said before it was opened again, these are out of date; after its exit too.
        case 'retired':
          if (this.state !== 'open') return;
          this.state = 'retired';
          return this.#retired.resolve();
        case 'drained':
          if (this.state !== 'retired') return;
          this.state = 'drained';
          return this.#drained.resolve();
        case 'connection':
          return listener.connection(this, body.connection, handle);
        case 'held':
          return listener.held(this, body.connection);
      }
    });
    const ended = (exit: WorkerExit) => {
      if (this.state === 'exited') return;
      this.state = 'exited';
      records.remove(this.pid);
      // What it started and left behind is of its session, unless it meant to outlive it.
      if (this.pid !== 0) signalProcess(-this.pid, 'SIGTERM');
      this.#opened.resolve();
      this.#retired.resolve();
      this.#drained.resolve();
      exited.resolve(exit);
      listener.exited(this, exit);
    };
    this.#child.on('exit', (code, signal) => ended({ code, signal }));
    // Without a pid it was never started, and no 'exit' follows. Other errors, of `send`, precede an exit.
    this.#child.on('error', () => {
      if (this.pid === 0) ended({ code: null, signal: null });
    });
    if (this.pid !== 0) void records.add('worker', spec.key, this.pid);
  }

  get alive(): boolean {
    return this.state !== 'exited';
  }

  post(message: ToWorker, handle?: unknown): void {
    if (!this.#child.connected) return;
    // A failed write means that it is dying: its exit follows and is what we act on.
    const failed = () => undefined;
    this.#child.send({ cmd: command, body: message }, handle as never, { keepOpen: true }, failed);
  }

  /** Fulfilled when it accepts connections, or is gone. May follow `retire`, where a switch has failed. */
  open(): Promise<void> {
    if (this.state === 'retired' || this.state === 'drained') {
      this.#retired = Promise.withResolvers();
      this.#drained = Promise.withResolvers();
    }
    this.state = 'opening';
    this.#opened = Promise.withResolvers();
    this.post({ type: 'open' });
    return this.#opened.promise;
  }

  /**
   * Fulfilled when it takes no new request, or is gone.
   * @param last whether nobody takes over
   */
  retire(last: boolean): Promise<void> {
    this.post({ type: 'retire', last });
    return this.#retired.promise;
  }

  /** Fulfilled when nothing is in flight any more after `retire`, or it is gone. */
  get drained(): Promise<void> {
    return this.#drained.promise;
  }

  /** The stop signal, and SIGKILL to all of its session after `killTimeout` ms. */
  async end(killTimeout: number): Promise<void> {
    if (!this.alive || this.pid === 0) return;
    signalProcess(this.pid, 'SIGTERM');
    const timer = setTimeout(() => this.kill(), killTimeout);
    await this.exited;
    clearTimeout(timer);
  }

  kill(): void {
    if (this.alive && this.pid !== 0) signalProcess(-this.pid, 'SIGKILL');
  }
}
