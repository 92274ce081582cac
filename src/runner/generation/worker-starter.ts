import { AppError, errorBody } from '../../errors/app-error.ts';
import type { GenerationSpec, Notice } from '../../protocol/runner.ts';
import { type Masker, sharedMasker } from '../../system/text/mask/masker.ts';
import type { Allowance } from '../allowance.ts';
import type { Cgroup } from '../cgroups/cgroup.ts';
import type { Exit } from '../exit.ts';
import type { Handoff } from '../handoff.ts';
import type { Outputs } from '../output/outputs.ts';
import type { ListeningPort } from '../ports/listening-port.ts';
import type { ProcessRecords } from '../takeover/process-records.ts';
import type { Identity } from '../users/identity.ts';
import { waitUntilHealthy } from './boot-check.ts';
import type { StartupFailures } from './startup-failure.ts';
import { type Ready, WorkerHandle } from './worker-handle.ts';

/** What all workers of a generation have from the runner. */
export interface WorkerContext {
  spec: GenerationSpec;
  port: ListeningPort;
  /** true if workers of an earlier runner may still answer at the switch to this generation */
  besideOrphans: boolean;
  orphanSocket: string;
  records: ProcessRecords;
  /** whom they run as, where there are users */
  user(): Identity | undefined;
  /** what holds them to their limits */
  group: Cgroup;
  outputs: Outputs;
  /** through which workers pass connections to each other; undefined where the app was given up */
  handoff(): Promise<Handoff | undefined>;
  /** what all workers of the app together may send to the runner */
  allowance: Allowance;
}

interface WorkerStarterOptions extends WorkerContext {
  generation: number;
  failures: StartupFailures;
  /** what there is to say of the app is added */
  notices: Notice[];
  started(worker: WorkerHandle): void;
  memoryExceeded(worker: WorkerHandle): void;
  exited(worker: WorkerHandle, exit: Exit): void;
}

/** Starts workers of one generation and proves them healthy. */
export class WorkerStarter {
  readonly #options: WorkerStarterOptions;

  constructor(options: WorkerStarterOptions) {
    this.#options = options;
  }

  /**
   * One worker from start to healthy; it is killed where it does not get there.
   * @param report told each thing that happens
   * @param started told as soon as there is a process
   * @throws NotStarted, what proveHealthy throws, the reason of `signal`
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
      if (instance !== 0) return;
      this.#noteHardCodedPort(ready);
      if (ready.onlyInterrupt) this.#noteInterrupt();
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
    const { spec, outputs, started, memoryExceeded, exited } = this.#options;
    const user = this.#options.user();
    const origin = { release: spec.release, process: `web.${instance}` };
    const notStarted = (error: unknown) => new NotStarted(instance, error, sharedMasker(spec.log.secrets));
    const output = await outputs.open(spec.log, origin, user).catch((error: unknown) => {
      throw notStarted(error);
    });
    try {
      const handoff = await this.#options.handoff();
      signal.throwIfAborted();
      const listener = { memoryExceeded, exited };
      if (handoff === undefined) throw new Error('its app has been stopped');
      const worker = new WorkerHandle({ ...this.#options, handoff, instance, user, output, listener });
      started(worker);
      return worker;
    } catch (error) {
      output.remove();
      if (signal.aborted) throw signal.reason;
      throw notStarted(error);
    }
  }

  #noteInterrupt(): void {
    const code = 'sigint_only';
    const { notices } = this.#options;
    if (notices.some((notice) => notice.code === code)) return;
    notices.push({
      code,
      message: 'The app handles SIGINT but not SIGTERM, so Sluice ends it with SIGINT.',
      hint: 'To choose the signal, set "stopSignal" in sluice.json.',
    });
  }

  #noteHardCodedPort({ listens }: Ready): void {
    const { spec, notices } = this.#options;
    const { port, codePort } = spec;
    if (listens === port || listens === codePort) return;
    const code = 'hardcoded_port';
    if (notices.some((notice) => notice.code === code)) return;
    notices.push({
      code,
      message: `the app listens on ${listens} and not on PORT (${port}); it is reached on ${port} all the same`,
      hint: `Use process.env.PORT in its listen(), or set "port": ${listens} in sluice.json to say that this is meant.`,
    });
  }
}

/** There is no process whose death could be waited for. */
export class NotStarted extends AppError {
  /** @param masker because the engine quotes the argument or the variable that it refuses */
  constructor(instance: number, error: unknown, masker: Masker) {
    const { code, message, hint } = errorBody(error);
    const why = masker.maskText(code === 'internal' ? (error as Error).message : message);
    super(code, `worker ${instance} could not be started: ${why}`, { hint });
  }
}
