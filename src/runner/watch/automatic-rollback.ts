import type { AppLogs } from '../../logs/app-logs.ts';
import type { BootResult, GenerationSpec, Reverted } from '../../protocol/runner.ts';
import type { Generation } from '../generation/generation.ts';
import { Watch } from './watch.ts';

interface AutomaticRollbackOptions {
  logs: AppLogs;
  /** see AppSupervisor.startGeneration */
  start(spec: GenerationSpec): Promise<BootResult>;
  /** see AppSupervisor.switch */
  switch(id: number, options: { reverted: Reverted }): Promise<unknown>;
}

/** Automatic rollback of one environment: watches over the active generation, and returns to the one before if that was better. */
export class AutomaticRollback {
  readonly #options: AutomaticRollbackOptions;
  /** watch over the active generation; while it returns to the one before, until the end of the return */
  #watch: Watch | undefined;

  constructor(options: AutomaticRollbackOptions) {
    this.#options = options;
  }

  get watch(): Watch | undefined {
    return this.#watch;
  }

  /** Compares a generation with the one before from now on. */
  begin(next: Generation, former: Generation): void {
    const areComparable = next.spec.workers > 0 && former.spec.workers > 0;
    if (next.spec.watchTime === 0 || !areComparable || next.spec.release === former.spec.release) return;
    next.count(true);
    this.#watch = new Watch(next, former, performance.now());
  }

  /** Ends the watch, unless it returns to the generation before: the return ends it. */
  end(): void {
    if (this.#watch?.isReturning) return;
    this.#watch?.end();
    this.#watch = undefined;
  }

  /** Checks the active generation. @param now in ms, of the clock of Watch */
  check(now: number): void {
    const watch = this.#watch;
    const end = watch?.isReturning ? undefined : watch?.check(now);
    if (watch === undefined || end === undefined) return;
    if ('fault' in end) void this.#revert(watch, end.fault);
    else this.end();
  }

  /** Returns to the generation before the active one, which is worse. Starts it again if it is not on standby any more. */
  async #revert(watch: Watch, reason: string): Promise<void> {
    watch.isReturning = true;
    const { log, release } = watch.generation.spec;
    // The port is Sluice's by now.
    const { takesPort: _, ...former } = watch.former.spec;
    const logInApp = (text: string) =>
      void this.#options.logs.get(log).report({ release, process: '-' }, text);
    logInApp(`release ${release} is worse than release ${former.release}: ${reason}`);
    const reverted = { release, at: new Date().toISOString(), reason };
    try {
      const { generation } = await this.#options.start({ ...former, isProven: true });
      await this.#options.switch(generation, { reverted });
      logInApp(`release ${release} is reverted`);
    } catch (error) {
      logInApp(`release ${release} was not reverted: ${(error as Error).message}`);
    }
    watch.end();
    if (this.#watch === watch) this.#watch = undefined;
  }
}
