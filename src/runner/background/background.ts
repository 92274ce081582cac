import { setTimeout as sleep } from 'node:timers/promises';
import type { BackgroundStatus, GenerationSpec } from '../../protocol/runner.ts';
import { retryOnShortage } from '../../system/concurrency/retry.ts';
import { Lock } from '../../system/concurrency/slots.ts';
import { processStartTime } from '../../system/process/processes.ts';
import type { EnvironmentContext } from '../app-process.ts';
import type { Cgroup } from '../cgroups/cgroup.ts';
import { endProcess } from '../exit.ts';
import type { ProcessRecord } from '../takeover/process-records.ts';
import { BackgroundProcess } from './background-process.ts';

/** Background processes of one environment: those of the live release, and those of former releases that have not ended. */
export class BackgroundProcesses {
  readonly #options: EnvironmentContext;
  readonly #turns = new Lock();
  readonly #processes = new Set<BackgroundProcess>();
  /** release of the latest call: an earlier call that waits has nothing left to do */
  #latest: GenerationSpec | undefined;

  constructor(options: EnvironmentContext) {
    this.#options = options;
  }

  /** Replaces all processes by those of a release. @param group cgroup of its generation */
  replace(spec: GenerationSpec, group: Cgroup): Promise<void> {
    this.#latest = spec;
    const release = group.retain();
    const done = this.#turns.run(async () => {
      if (this.#latest !== spec) return;
      const ended = this.#endAll(spec.killTimeout);
      this.#start(spec, group, true);
      await ended;
      if (this.#latest === spec) this.#start(spec, group, false);
    });
    return done.finally(release);
  }

  end(killTimeout: number): Promise<void> {
    this.#latest = undefined;
    return this.#turns.run(() => this.#endAll(killTimeout));
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

  /** @param overlap selects the processes that may, or may not, start while old ones run */
  #start(spec: GenerationSpec, group: Cgroup, overlap: boolean): void {
    for (const background of spec.background.filter((each) => each.overlap === overlap)) {
      for (let instance = 0; instance < background.count; instance += 1)
        this.#processes.add(new BackgroundProcess({ ...this.#options, spec, background, instance, group }));
    }
  }

  async #endAll(killTimeout: number): Promise<void> {
    const ending = [...this.#processes].map(async (process) => {
      await process.end();
      this.#processes.delete(process);
    });
    await Promise.all([...ending, this.#endEarlier(killTimeout)]);
  }

  /** Ends processes of an earlier runner. They are not children of this runner, so it knows them by their records. */
  async #endEarlier(killTimeout: number): Promise<void> {
    const { records, key, log } = this.#options;
    const find = () => records.ofEarlierRunners('background', key);
    const earlier = await retryOnShortage('the end of background processes of an earlier runner', find, log);
    const end = async (record: ProcessRecord) => {
      const { pid, stopSignal: signal = 'SIGTERM', exec: isShell } = record;
      const killed = await endProcess(pid, { signal, isShell, killTimeout, gone: waitUntilGone(record) });
      if (killed !== undefined) log(`a background process of an earlier runner (pid ${pid}) ${killed}`);
      records.remove(pid);
    };
    await Promise.all(earlier.map(end));
  }
}

async function waitUntilGone({ pid, startTime }: ProcessRecord): Promise<void> {
  const now = () => processStartTime(pid);
  while ((await retryOnShortage('a check of a process', now, () => undefined)) === startTime) await sleep(20);
}
