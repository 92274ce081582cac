import { basename, join } from 'node:path';
import { listEnvironments, type Paths, parseEnvironmentName } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';
import { AppLogs } from '../logs/app-logs.ts';
import type { Handlers } from '../protocol/peer.ts';
import type { GenerationLimits, JobLimits, RunnerCalls } from '../protocol/runner.ts';
import { protocolVersion } from '../protocol/version.ts';
import { retryOnShortage } from '../system/concurrency/retry.ts';
import { exists } from '../system/fs/exists.ts';
import type { Log } from '../system/log/log.ts';
import { descriptorUsage } from '../system/process/descriptors.ts';
import { signalProcess } from '../system/process/processes.ts';
import { Cgroups } from './cgroups/cgroups.ts';
import { findTree } from './cgroups/find.ts';
import { runJob } from './jobs/jobs.ts';
import { endLeftoversOfEarlier, killMarked } from './jobs/leftovers.ts';
import { Keeper } from './output/keeper.ts';
import { Outputs } from './output/outputs.ts';
import { HeldPorts } from './ports/held-ports.ts';
import { AppSupervisor } from './supervisor.ts';
import { Orphans } from './takeover/orphans.ts';
import { type ProcessRecord, ProcessRecords } from './takeover/process-records.ts';
import { Ticker } from './ticker.ts';
import { clearPath, type Host } from './users/host.ts';
import { checkedEnvironment, type Identity } from './users/identity.ts';

/** Owns the listening sockets, starts and watches the workers; parses nothing that is not the server's. */
export class Runner {
  readonly #paths: Paths;
  readonly #ground: Host;
  readonly #targets = new Map<string, AppSupervisor>();
  readonly #orphans: Orphans;
  readonly #records: ProcessRecords;
  readonly #cgroups: Cgroups;
  readonly #log: Log;
  readonly #logs: AppLogs;
  readonly #outputs: Outputs;
  readonly #keeper: Keeper;
  readonly #ports: HeldPorts;
  readonly #ticker = new Ticker(
    () => this.#targets.values(),
    () => this.#cgroups.sweep(),
    (error) => this.#log.error('a check of the processes failed', { error }),
  );
  readonly #jobs = new Set<Promise<unknown>>();
  readonly #stopping = new AbortController();

  constructor(paths: Paths, ground: Host, log: Log) {
    this.#paths = paths;
    this.#ground = ground;
    const warn = (message: string) => log.warn(message);
    this.#records = new ProcessRecords(ground.run.processes, warn);
    this.#orphans = new Orphans(this.#records, (key) => this.#targets.get(key)?.handoff);
    this.#cgroups = new Cgroups(findTree(paths.home), warn);
    this.#log = log;
    this.#logs = new AppLogs(
      () => logDirectories(paths, ground),
      (what, error) => log.error(what, { error }),
      ground.safePath,
    );
    this.#outputs = new Outputs(ground.run.outputs, this.#logs, warn);
    this.#keeper = new Keeper(ground.run.outputs, this.#records, warn);
    this.#ports = new HeldPorts(ground.run.processes, this.#records, warn);
  }

  /** Takes up what an earlier runner left: its jobs are ended, its workers report by themselves. */
  async start(): Promise<void> {
    const earlier = await this.#records.all();
    await this.#keeper.waitForEarlier();
    // Before any is opened that is ours.
    for (const output of await this.#outputs.restore()) output.adopt();
    this.#keeper.start();
    for (const { kind, key, pid, mark } of await this.#records.alive()) {
      if (kind !== 'job') continue;
      signalProcess(-pid, 'SIGKILL');
      this.#log.warn('a job of an earlier runner was killed', { app: key, pid });
      if (mark !== undefined) await killMarked(mark, this.#whoRan(key));
      this.#records.remove(pid);
    }
    await this.#cgroups.start();
    const { wanted, missing } = this.#cgroups.report;
    const level = wanted && missing.length > 0 ? 'warn' : 'info';
    this.#log[level]('limits by cgroups', { ...this.#cgroups.report });
    const socket = join(this.#ground.run.directory, basename(this.#paths.orphanSocket));
    clearPath(socket, (message) => this.#log.warn(message));
    await this.#orphans.listen(socket, { open: this.#ground.users !== undefined });
    this.#ticker.start();
    const warn = (message: string) => this.#log.warn(message);
    endLeftoversOfEarlier(earlier, this.#records, (key) => this.#whoRan(key), warn).catch((error: unknown) =>
      this.#log.error('processes left by earlier ones were not ended', { error }),
    );
  }

  /** Ends all workers, what is in flight first, and all jobs. */
  async stop(): Promise<void> {
    try {
      await this.#stop();
    } finally {
      await this.#cgroups.close();
    }
  }

  async #stop(): Promise<void> {
    this.#stopping.abort(new AppError('cancelled', 'the runner is stopping'));
    const keys = new Set([...this.#targets.keys(), ...(await this.#keysOfLeft())]);
    const stopped = [...keys].map((key) => this.#target(key).stop());
    await Promise.all([...stopped, Promise.allSettled(this.#jobs)]);
    this.#orphans.close();
    this.#ticker.stop();
    this.#keeper.stop();
    await this.#outputs.end();
    await this.#logs.closeAll();
    await this.#ports.dismiss();
  }

  async #keysOfLeft(): Promise<string[]> {
    const find = () => this.#records.alive();
    const alive = await retryOnShortage('the end of all processes', find, (message) =>
      this.#log.error(message),
    );
    return alive.filter(servesApp).map(({ key }) => key);
  }

  /** Ends jobs and boots, and lets all that serves be: the next runner takes over, and nothing of the output is lost. */
  async leave(): Promise<void> {
    this.#stopping.abort(new AppError('cancelled', 'the runner is being replaced'));
    this.#ticker.stop();
    await Promise.all([...this.#targets.values()].map((target) => target.leave()));
    await Promise.allSettled(this.#jobs);
    await this.#outputs.stop();
    await this.#logs.closeAll();
  }

  /**
   * What one connection of the server may call.
   * @param closed aborted when the connection is gone: what it booted and did not switch to is discarded
   * @param end end the runner: `leave` leaves the workers to the next one, `shutdown` ends them
   */
  handlers(
    closed: AbortSignal,
    end: Record<'leave' | 'shutdown', () => Promise<void>>,
  ): Handlers<RunnerCalls> {
    const standby = new Map<string, () => Promise<void>>();
    const nameOf = (key: string, generation: number) => `${key} ${generation}`;
    closed.addEventListener('abort', () => {
      for (const discard of standby.values()) void discard();
    });
    return {
      hello: async ({ version }) => {
        if (version !== protocolVersion) {
          throw new AppError(
            'protocol_mismatch',
            `the runner speaks version ${protocolVersion}, the server ${version}`,
            {
              hint: 'Restart both: they are of different releases of Sluice.',
            },
          );
        }
        const users = this.#ground.users !== undefined;
        return { version: protocolVersion, pid: process.pid, users, limits: this.#cgroups.report };
      },
      status: async () =>
        [...this.#targets.values()].filter((target) => !target.isEmpty).map((target) => target.status()),
      usage: async () => ({ ...descriptorUsage(), ports: this.#ports.report }),
      hold: ({ addresses }) => this.#ports.hold(addresses),
      boot: async ({ spec: asked }, { report, signal }) => {
        const spec = this.#ground.withSafePaths(asked);
        checkLimits(spec.key, spec.limits);
        const target = this.#target(spec.key);
        const ended = AbortSignal.any([signal, closed, this.#stopping.signal]);
        const result = await target.startGeneration(spec, (line) => report({ line }), ended);
        const discard = () => target.discard(result.generation);
        if (closed.aborted) await discard();
        else standby.set(nameOf(spec.key, result.generation), discard);
        return result;
      },
      switch: async ({ key, generation }) => {
        standby.delete(nameOf(key, generation));
        return this.#target(key).switch(generation);
      },
      discard: async ({ key, generation }) => {
        standby.delete(nameOf(key, generation));
        await this.#target(key).discard(generation);
        return null;
      },
      stop: async ({ key }) => {
        // Also where nothing was booted yet: workers of an earlier runner may serve it.
        await this.#target(key).stop();
        return null;
      },
      job: async ({ job, limits }, context) => {
        const signal = AbortSignal.any([context.signal, closed, this.#stopping.signal]);
        const user = this.#ground.users?.of(job.user);
        const group = limits && this.#cgroups.job(checkLimits(limits.key, limits));
        const whose = { user, group };
        const running = runJob(job, { ...context, signal }, this.#records, whose).finally(group?.retain());
        this.#jobs.add(running);
        return running.finally(() => this.#jobs.delete(running));
      },
      prepare: async ({ key }) => {
        await this.#ground.files?.prepare(key);
        return null;
      },
      own: async ({ key, tree }) => {
        await this.#ground.files?.own(key, tree);
        return null;
      },
      endAll: async ({ key }) => {
        await this.#ground.files?.endAll(key);
        return null;
      },
      forget: async ({ key, aside }) => {
        const target = parseEnvironmentName(key);
        if (this.#ground.files === undefined || target === undefined) return null;
        await this.#target(key).stop();
        await this.#logs.remove(this.#paths.environment(target).logs);
        await this.#ground.files.forget(key, aside);
        this.#targets.delete(key);
        return null;
      },
      leave: async () => {
        await end.leave();
        return null;
      },
      shutdown: async () => {
        await end.shutdown();
        return null;
      },
    };
  }

  /** As whom a job ran; where that user is gone, nothing of it is left. */
  #whoRan(key: string): Identity | undefined {
    const { users } = this.#ground;
    return key === '' ? users?.owner : users?.find(key);
  }

  #target(key: string): AppSupervisor {
    let target = this.#targets.get(key);
    if (target === undefined) {
      // It becomes a part of paths.
      checkedEnvironment(key);
      target = new AppSupervisor({
        key,
        runDirectory: this.#ground.run.directory,
        orphanSocket: this.#paths.orphanSocket,
        orphans: this.#orphans,
        records: this.#records,
        cgroups: this.#cgroups,
        outputs: this.#outputs,
        logs: this.#logs,
        user: () => this.#ground.users?.of(key),
        at: this.#ground.safePath,
        log: (message) => this.#log.warn(message, { app: key }),
      });
      this.#targets.set(key, target);
    }
    return target;
  }
}

function servesApp({ kind }: ProcessRecord): boolean {
  return kind === 'worker' || kind === 'background';
}

/** Of all apps in all their environments, whether or not they run. */
async function logDirectories(paths: Paths, ground: Host): Promise<string[]> {
  const directories: string[] = [];
  for (const target of await listEnvironments(paths)) {
    const { logs } = paths.environment(target);
    // One that is being made or removed has none.
    if (await exists(logs)) directories.push(ground.safePath(logs));
  }
  return directories;
}

/**
 * What the server asks for becomes names and contents of files that root writes: a text that is no number would be what
 * is written there.
 * @throws AppError `user_refused`
 */
export function checkLimits<Limits extends GenerationLimits | JobLimits>(
  key: string,
  limits: Limits,
): Limits {
  checkedEnvironment(key);
  const { memory, processes, cpuWeight } = limits;
  const isFine = isAmount(memory) && isAmount(processes) && Number.isFinite(cpuWeight) && cpuWeight > 0;
  if (!isFine) throw new AppError('user_refused', `the limits of ${key} are no numbers`);
  return limits;
}

function isAmount(value: unknown): boolean {
  return value === null || (typeof value === 'number' && Number.isFinite(value) && value > 0);
}
