import type { ScheduledTask } from 'node-cron';
import type { AppLogs } from '../../logs/app-logs.ts';
import type { CronSpec, CronStatus, GenerationSpec } from '../../protocol/runner.ts';
import { nodeCron } from '../../system/process/footprint.ts';
import { formatDuration } from '../../system/text/format.ts';
import { sharedMasker } from '../../system/text/mask/masker.ts';
import { supervisionOf } from '../background/background-spec.ts';
import type { Cgroup } from '../cgroups/cgroup.ts';
import type { ProcessRecords } from '../takeover/process-records.ts';
import type { Identity } from '../users/identity.ts';
import { type CronOutcome, runCommand, sendRequest } from './cron-action.ts';
import { CronResults, cutOff } from './cron-results.ts';

/** Limits the runs of an app that are under way: each takes descriptors of the runner, which all apps share. */
const mostRuns = 50;

interface ScheduleOptions {
  logs: AppLogs;
  records: ProcessRecords;
  /** returns the user of the commands, if apps have users */
  user(): Identity | undefined;
  /** returns the path by which a file in the environment's directory is safe to use */
  safePath(path: string): string;
  /** called when all workers must be replaced, or the background processes with a name restarted: see `cronRestart` */
  restart(process?: string): void;
  log(message: string): void;
}

/** Entry of one release. */
interface Entry {
  spec: GenerationSpec;
  cron: CronSpec;
  /** cgroup of the generation */
  group: Cgroup;
}

/** Cron entries of the live release of one environment, and their runs. */
export class Schedule {
  readonly #options: ScheduleOptions;
  #tasks: { cron: CronSpec; task: ScheduledTask }[] = [];
  #restarts: ScheduledTask[] = [];
  /** runs under way, with the names of their entries; a run of an earlier release counts */
  readonly #runs = new Map<Promise<void>, string>();
  #results: CronResults | undefined;
  #stopping = new AbortController();

  constructor(options: ScheduleOptions) {
    this.#options = options;
  }

  /** Replaces the entries by those of a release. Runs that are under way continue. @param group cgroup of its generation */
  replace(spec: GenerationSpec, group: Cgroup): void {
    this.#clear();
    this.#results ??= this.#openResults(spec);
    if (this.#stopping.signal.aborted) this.#stopping = new AbortController();
    this.#tasks = spec.cron.map((cron) => {
      const task = schedule(cron, () => this.#begin({ spec, cron, group }));
      return { cron, task };
    });
    const { restart } = this.#options;
    if (spec.cronRestart !== null) this.#restarts.push(schedule(spec.cronRestart, () => restart()));
    for (const background of spec.background) {
      const { cronRestart } = supervisionOf(spec, background);
      if (cronRestart !== null) this.#restarts.push(schedule(cronRestart, () => restart(background.name)));
    }
  }

  #openResults(spec: GenerationSpec): CronResults {
    const results = new CronResults(() => this.#options.safePath(spec.paths.cron), this.#options.log);
    const log = this.#options.logs.get(spec.log);
    for (const name of results.interrupted)
      void log.report({ release: spec.release, process: `cron.${name}` }, `failed: ${cutOff}`);
    return results;
  }

  /** Removes all entries, ends the runs under way, and waits for their ends. */
  async end(): Promise<void> {
    this.#clear();
    this.#stopping.abort();
    await Promise.all(this.#runs.keys());
  }

  status(): CronStatus[] {
    const running = new Set(this.#runs.values());
    return this.#tasks.map(({ cron: { name, schedule }, task }) => ({
      name,
      schedule,
      nextRun: task.getNextRun()?.toISOString() ?? null,
      running: running.has(name),
      last: this.#results?.get(name) ?? null,
    }));
  }

  #clear(): void {
    for (const { task } of this.#tasks) void task.destroy();
    this.#tasks = [];
    for (const task of this.#restarts) void task.destroy();
    this.#restarts = [];
  }

  async #begin(entry: Entry): Promise<void> {
    const { name, overlap } = entry.cron;
    if (this.#runs.size >= mostRuns) return this.#skip(entry, `${mostRuns} runs of the app`, 'have');
    if (!overlap && [...this.#runs.values()].includes(name)) return this.#skip(entry, 'the last run', 'has');
    const release = entry.group.retain();
    const run = this.#run(entry).finally(() => {
      void release();
      this.#runs.delete(run);
    });
    this.#runs.set(run, name);
    await run;
  }

  async #skip(entry: Entry, what: string, verb: 'has' | 'have'): Promise<void> {
    const at = new Date().toISOString();
    const detail = `${what} had not ended`;
    this.#results?.set(entry.cron.name, { at, durationMs: 0, outcome: 'skipped', detail });
    await this.#write(entry, `skipped: ${what} ${verb} not ended`);
  }

  async #run(entry: Entry): Promise<void> {
    const { name } = entry.cron;
    const at = new Date().toISOString();
    const run = this.#results?.begin(name, at);
    const start = performance.now();
    const { outcome, detail } = await this.#perform(entry);
    const durationMs = Math.round(performance.now() - start);
    if (run !== undefined) this.#results?.end(run, { at, durationMs, outcome, detail });
    await this.#write(entry, `${outcome}: ${detail}, after ${formatDuration(durationMs)}`);
  }

  async #perform({ spec, cron, group }: Entry): Promise<CronOutcome> {
    const { action, name, timeout } = cron;
    const { signal } = this.#stopping;
    const { logs, records, user } = this.#options;
    try {
      if (action.kind === 'request') return await sendRequest(spec, action, timeout, signal);
      const asked = { name, timeout, command: action.command };
      const owner = { records, user: user(), group };
      return await runCommand(spec, asked, logs.get(spec.log), owner, signal);
    } catch (error) {
      return { outcome: 'failed', detail: sharedMasker(spec.log.secrets).maskText((error as Error).message) };
    }
  }

  async #write({ spec, cron }: Pick<Entry, 'spec' | 'cron'>, text: string): Promise<void> {
    const log = this.#options.logs.get(spec.log);
    await log.report({ release: spec.release, process: `cron.${cron.name}` }, text);
  }
}

function schedule(
  { schedule: expression, timezone }: Pick<CronSpec, 'schedule' | 'timezone'>,
  run: () => void | Promise<void>,
): ScheduledTask {
  const zone = timezone === null ? {} : { timezone };
  return nodeCron().schedule(expression, run, { suppressMissedWarning: true, ...zone });
}
