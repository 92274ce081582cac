import { setTimeout as sleep } from 'node:timers/promises';
import type { BackgroundStatus, GenerationSpec } from '../../protocol/runner.ts';
import { retryOnShortage } from '../../system/concurrency/retry.ts';
import { Slots } from '../../system/concurrency/slots.ts';
import { processStartTime } from '../../system/process/processes.ts';
import type { Cgroup } from '../cgroups/cgroup.ts';
import { endProcess } from '../exit.ts';
import type { Outputs } from '../output/outputs.ts';
import type { ProcessRecord, ProcessRecords } from '../takeover/process-records.ts';
import type { Identity } from '../users/identity.ts';
import { type BackgroundOptions, BackgroundProcess } from './background-process.ts';

interface BackgroundGroupOptions {
  key: string;
  outputs: Outputs;
  records: ProcessRecords;
  user(): Identity | undefined;
  log(message: string): void;
}

/** The background processes of one target: those of the release that is live, and those that still have to go. */
export class BackgroundProcesses {
  readonly #options: BackgroundGroupOptions;
  readonly #turns = new Slots(1);
  #processes = new Set<BackgroundProcess>();
  /** the newest wish: what waited behind another that is out of date by then is left out */
  #wanted: GenerationSpec | undefined;

  constructor(options: BackgroundGroupOptions) {
    this.#options = options;
  }

  /**
   * Those of `spec` instead of those there are.
   * @param group of the generation that they belong to
   */
  replace(spec: GenerationSpec, group: Cgroup): Promise<void> {
    this.#wanted = spec;
    const release = group.retain();
    const done = this.#turns.run(async () => {
      if (this.#wanted !== spec) return;
      const old = [...this.#processes];
      const ending = this.#endAll(old, spec.killTimeout);
      const mayOverlap = spec.background.filter(({ overlap }) => overlap);
      this.#start(spec, group, mayOverlap);
      await ending;
      if (this.#wanted !== spec) return;
      this.#start(
        spec,
        group,
        spec.background.filter(({ overlap }) => !overlap),
      );
    });
    return done.finally(release);
  }

  /** Ends all. */
  end(killTimeout: number): Promise<void> {
    this.#wanted = undefined;
    return this.#turns.run(() => this.#endAll([...this.#processes], killTimeout));
  }

  get isEmpty(): boolean {
    return this.#processes.size === 0;
  }

  tick(now: number): void {
    for (const process of this.#processes) process.tick(now);
  }

  status(): BackgroundStatus[] {
    return [...this.#processes].map((process) => process.status());
  }

  #start(spec: GenerationSpec, group: Cgroup, wanted: GenerationSpec['background']): void {
    const { outputs, records, user, log } = this.#options;
    for (const background of wanted) {
      for (let instance = 0; instance < background.count; instance += 1) {
        const options: BackgroundOptions = {
          spec,
          background,
          instance,
          outputs,
          records,
          user,
          group,
          log,
        };
        this.#processes.add(new BackgroundProcess(options));
      }
    }
  }

  async #endAll(old: BackgroundProcess[], killTimeout: number): Promise<void> {
    const ending = old.map(async (process) => {
      await process.end();
      this.#processes.delete(process);
    });
    await Promise.all([...ending, this.#endOrphans(killTimeout)]);
  }

  /** Those that an earlier runner started: not our children, but they have our name on them. */
  async #endOrphans(killTimeout: number): Promise<void> {
    const { records, key, log } = this.#options;
    const ours = new Set(this.status().map(({ pid }) => pid));
    const left = () => records.left('background', key, ours);
    const orphans = await retryOnShortage('the end of background processes of an earlier runner', left, log);
    await Promise.all(
      orphans.map(async (record) => {
        const { pid } = record;
        const options = {
          signal: record.stopSignal ?? ('SIGTERM' as const),
          killTimeout,
          gone: gone(record),
        };
        const why = await endProcess(pid, options);
        if (why !== undefined) log(`a background process of an earlier runner (pid ${pid}) ${why}`);
        records.remove(pid);
      }),
    );
  }
}

async function gone({ pid, startTime }: ProcessRecord): Promise<void> {
  const now = () =>
    retryOnShortage(
      'a look at a process',
      () => processStartTime(pid),
      () => undefined,
    );
  while ((await now()) === startTime) await sleep(20);
}
