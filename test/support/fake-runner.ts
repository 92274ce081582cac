import type { RunnerCaller } from '../../src/apps/appliance.ts';
import type {
  BootResult,
  EnvironmentStatus,
  GenerationSpec,
  JobResult,
  JobSpec,
  OneOffStatus,
  RunnerCalls,
} from '../../src/protocol/runner.ts';
import { writeJsonAtomic } from '../../src/system/fs/files.ts';

interface Params {
  spec: GenerationSpec;
  key: string;
  generation: number;
  job: JobSpec;
}

type Progress = { onProgress?: (progress: never) => void; signal?: AbortSignal | undefined };

/** Runner without processes: it records the calls, and switches by writing the generation file. */
export class FakeRunner implements RunnerCaller {
  readonly connectedSince = new Date();
  /** names of calls, in order */
  readonly calls: string[] = [];
  readonly booted = new Map<number, GenerationSpec>();
  readonly active = new Map<string, { generation: number; spec: GenerationSpec }>();
  /** one-off commands */
  readonly running: OneOffStatus[] = [];
  /** called by each boot: may print lines, wait, or fail */
  onBoot: (spec: GenerationSpec, print: (line: string) => void) => Promise<void> | void = () => undefined;
  /** true if the release of a boot is on standby */
  isWarm = false;
  /** called by each switch before it is made */
  onSwitch: () => Promise<void> | void = () => undefined;
  /** called by each switch after it is made */
  afterSwitch: () => void = () => undefined;
  /** called by each wait for background processes */
  onReplaced: () => void = () => undefined;
  /** called by each job: may print on stdout, wait, or fail */
  onJob: (job: JobSpec, print: (text: string) => void) => Promise<void> | void = () => undefined;
  /** called by each call before its answer: may wait, or fail */
  onCall: (name: string, key: string | undefined) => Promise<void> | void = () => undefined;
  /** true if each app has a user of its own */
  users = false;
  #generations = 0;

  async call<Name extends keyof RunnerCalls & string>(
    name: Name,
    params: RunnerCalls[Name]['params'],
    options: Progress = {},
  ): Promise<RunnerCalls[Name]['result']> {
    options.signal?.throwIfAborted();
    this.calls.push(name);
    const aborted = Promise.withResolvers<never>();
    aborted.promise.catch(() => undefined);
    options.signal?.addEventListener('abort', () => aborted.reject(options.signal?.reason));
    return Promise.race([aborted.promise, this.#answer(name, params, options)]);
  }

  async #answer(name: keyof RunnerCalls, params: unknown, { onProgress }: Progress): Promise<never> {
    const { spec, key, generation, job } = params as Params;
    await this.onCall(name, key);
    switch (name) {
      case 'boot':
        return (await this.#boot(spec, (line) => onProgress?.({ line } as never))) as never;
      case 'switch':
        return (await this.#switch(key, generation)) as never;
      case 'discard':
        this.booted.delete(generation);
        return null as never;
      case 'stop':
        this.active.delete(key);
        return null as never;
      case 'job': {
        await this.onJob(job, (text) => onProgress?.({ stream: 'stdout', text } as never));
        const result: JobResult = { code: 0, signal: null, timedOut: false, durationMs: 1 };
        return result as never;
      }
      case 'replaced':
        this.onReplaced();
        return null as never;
      case 'failing':
        return [] as never;
      default:
        return null as never;
    }
  }

  async #boot(spec: GenerationSpec, print: (line: string) => void): Promise<BootResult> {
    this.#generations += 1;
    const generation = this.#generations;
    await this.onBoot(spec, print);
    this.booted.set(generation, spec);
    return {
      generation,
      workers: spec.workers,
      bootMs: 5,
      protocol: 'http',
      notices: [],
      ...(this.isWarm && { wasWarm: true }),
    };
  }

  async #switch(key: string, generation: number): Promise<{ generation: number; pauseMs: number }> {
    await this.onSwitch();
    const spec = this.booted.get(generation);
    if (spec === undefined) throw new Error(`no generation ${generation}`);
    await writeJsonAtomic(spec.paths.generation, { generation, release: spec.release });
    this.booted.delete(generation);
    this.active.set(key, { generation, spec });
    this.afterSwitch();
    return { generation, pauseMs: 0.1 };
  }

  async status(only?: string): Promise<EnvironmentStatus[]> {
    const active = [...this.active].filter(([key]) => only === undefined || key === only);
    return active.map(([key, { generation, spec }]) => ({
      ...{ key, generation, descriptors: 0, state: 'running', since: '', crash: null },
      ...{
        active: { generation, release: spec.release, workers: spec.workers },
        draining: [],
        standby: null,
        returnsTo: null,
      },
      ...{ workers: [], background: [], cron: [] },
    })) as EnvironmentStatus[];
  }

  async oneOffs(): Promise<OneOffStatus[]> {
    return this.running;
  }

  async open(): Promise<never> {
    throw new Error('this runner has no connections');
  }

  async hasUsers(): Promise<boolean> {
    return this.users;
  }

  onConnected(listener: () => void): void {
    listener();
  }
}
