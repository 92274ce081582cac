import type { ScheduledTask } from 'node-cron';
import type { AppLogs } from '../../logs/app-logs.ts';
import type { CronSpec, CronStatus, GenerationSpec } from '../../protocol/runner.ts';
import { nodeCron } from '../../system/node-cron.ts';
import { formatDuration } from '../../system/text/format.ts';
import { sharedMasker } from '../../system/text/mask/masker.ts';
import type { Cgroup } from '../cgroups/cgroup.ts';
import type { ProcessRecords } from '../takeover/process-records.ts';
import type { Identity } from '../users/identity.ts';
import { type CronOutcome, runCommand, sendRequest } from './cron-action.ts';
import { CronResults, cutOff } from './cron-results.ts';

/** Limits the runs of an app that are under way: each takes descriptors of the runner, which all apps share. */
const mostRuns = 50;

interface CronsOptions {
  logs: AppLogs;
  records: ProcessRecords;
  /** whom its commands run as, where there are users */
  user(): Identity | undefined;
  /** a path of the target, as it is safe to be used */
  at(path: string): string;
  /** when all workers are to be replaced */
  restart(): void;
  log(message: string): void;
}

interface Entry {
  cron: CronSpec;
  task: ScheduledTask;
}

/** What the live release of one target does at set times. */
export class Schedule {
  readonly #options: CronsOptions;
  #entries: Entry[] = [];
  #restart: ScheduledTask | undefined;
  /** by name, over switches: what an earlier release has begun is one run, too */
  readonly #underWay = new Map<string, number>();
  #results: CronResults | undefined;
  #stopping = new AbortController();
  readonly #runs = new Set<Promise<void>>();

  constructor(options: CronsOptions) {
    this.#options = options;
  }

  /**
   * Those of `spec` instead of those there are; what is under way goes on.
   * @param group of the generation that they belong to
   */
  replace(spec: GenerationSpec, group: Cgroup): void {
    this.#clear();
    this.#results ??= this.#takeResults(spec);
    if (this.#stopping.signal.aborted) this.#stopping = new AbortController();
    this.#entries = spec.cron.map((cron) => ({
      cron,
      task: nodeCron().schedule(
        cron.schedule,
        () => this.#begin(spec, group, cron),
        taskOptions(cron.timezone),
      ),
    }));
    if (spec.cronRestart !== null) {
      const { schedule: when, timezone } = spec.cronRestart;
      this.#restart = nodeCron().schedule(when, () => this.#options.restart(), taskOptions(timezone));
    }
  }

  #takeResults(spec: GenerationSpec): CronResults {
    const results = new CronResults(() => this.#options.at(spec.paths.cron), this.#options.log);
    const log = this.#options.logs.get(spec.log);
    for (const name of results.interrupted)
      void log.report({ release: spec.release, process: `cron.${name}` }, `failed: ${cutOff}`);
    return results;
  }

  /** None any more; what is under way is ended, and over when this is fulfilled. */
  async end(): Promise<void> {
    this.#clear();
    this.#stopping.abort();
    await Promise.all(this.#runs);
  }

  status(): CronStatus[] {
    return this.#entries.map(({ cron: { name, schedule }, task }) => ({
      name,
      schedule,
      nextRun: task.getNextRun()?.toISOString() ?? null,
      running: this.#underWay.has(name),
      last: this.#results?.get(name) ?? null,
    }));
  }

  #clear(): void {
    for (const { task } of this.#entries) void task.destroy();
    this.#entries = [];
    void this.#restart?.destroy();
    this.#restart = undefined;
  }

  async #begin(spec: GenerationSpec, group: Cgroup, cron: CronSpec): Promise<void> {
    const release = group.retain();
    const run = this.#due(spec, group, cron).finally(release);
    this.#runs.add(run);
    await run.finally(() => this.#runs.delete(run));
  }

  async #due(spec: GenerationSpec, group: Cgroup, cron: CronSpec): Promise<void> {
    const log = this.#options.logs.get(spec.log);
    const origin = { release: spec.release, process: `cron.${cron.name}` };
    const running = this.#underWay.get(cron.name) ?? 0;
    const at = new Date().toISOString();
    const isFull = this.#countUnderWay() >= mostRuns;
    if ((running > 0 && !cron.overlap) || isFull) {
      const why = isFull ? `${mostRuns} runs of the app have not ended` : 'the last run has not ended';
      await log.report(origin, `is due, and ${why}: left out`);
      const detail = isFull ? `${mostRuns} runs of the app had not ended` : 'the last run had not ended';
      this.#results?.set(cron.name, { at, durationMs: 0, outcome: 'skipped', detail });
      return;
    }
    this.#underWay.set(cron.name, running + 1);
    this.#results?.begin(cron.name, at);
    const start = performance.now();
    try {
      const { failed, detail } = await this.#perform(spec, group, cron);
      const durationMs = Math.round(performance.now() - start);
      const outcome = failed ? 'failed' : 'done';
      this.#results?.set(cron.name, { at, durationMs, outcome, detail });
      await log.report(origin, `${outcome}: ${detail}, after ${formatDuration(durationMs)}`);
    } finally {
      const left = (this.#underWay.get(cron.name) ?? 1) - 1;
      if (left > 0) this.#underWay.set(cron.name, left);
      else this.#underWay.delete(cron.name);
    }
  }

  #countUnderWay(): number {
    return [...this.#underWay.values()].reduce((sum, count) => sum + count, 0);
  }

  async #perform(
    spec: GenerationSpec,
    group: Cgroup,
    { action, name, timeout }: CronSpec,
  ): Promise<CronOutcome> {
    const { signal } = this.#stopping;
    const { logs, records, user } = this.#options;
    try {
      if (action.kind === 'request') return await sendRequest(spec, action, timeout, signal);
      const { command } = action;
      const asked = { name, timeout, command };
      const whose = { records, user: user(), group };
      return await runCommand(spec, asked, logs.get(spec.log), whose, signal);
    } catch (error) {
      return { failed: true, detail: sharedMasker(spec.log.secrets).maskText((error as Error).message) };
    }
  }
}

function taskOptions(timezone: string | null): { timezone?: string; suppressMissedWarning: true } {
  return { suppressMissedWarning: true, ...(timezone === null ? {} : { timezone }) };
}
