import { listEnvironments, type Paths } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';
import { AppLogs } from '../logs/app-logs.ts';
import type { Handlers } from '../protocol/peer.ts';
import type { GenerationLimits, RunnerCalls } from '../protocol/runner.ts';
import { protocolVersion } from '../protocol/version.ts';
import { retryOnShortage } from '../system/concurrency/retry.ts';
import { exists } from '../system/fs/exists.ts';
import type { Log } from '../system/log/log.ts';
import { descriptorUsage } from '../system/process/descriptors.ts';
import { processStartTime, signalProcess } from '../system/process/processes.ts';
import { Cgroups } from './cgroups/cgroups.ts';
import { findTree } from './cgroups/find.ts';
import { isShortForBuild } from './cgroups/machine-memory.ts';
import { endStandbys } from './end-standbys.ts';
import { runJob } from './jobs/jobs.ts';
import { endLeftovers, endLeftoversOfEarlier } from './jobs/leftovers.ts';
import { OneOffs } from './one-off/one-offs.ts';
import { Keeper } from './output/keeper.ts';
import { Outputs } from './output/outputs.ts';
import { HeldPorts } from './ports/held-ports.ts';
import { AppSupervisor } from './supervisor.ts';
import { Orphans } from './takeover/orphans.ts';
import { type ProcessRecord, ProcessRecords } from './takeover/process-records.ts';
import { tickRegularly } from './ticker.ts';
import type { Host } from './users/host.ts';
import { checkedEnvironment, type Identity } from './users/identity.ts';
import { ServerWaker } from './wake.ts';

/** Owner of the listening sockets and of all processes of apps. Parses no files of users or apps. */
export class Runner {
  readonly #paths: Paths;
  readonly #host: Host;
  readonly #supervisors = new Map<string, AppSupervisor>();
  readonly #orphans: Orphans;
  readonly #records: ProcessRecords;
  readonly #cgroups: Cgroups;
  readonly #log: Log;
  readonly #logs: AppLogs;
  readonly #outputs: Outputs;
  readonly #keeper: Keeper;
  readonly #ports: HeldPorts;
  readonly #oneOffs: OneOffs;
  readonly #server: ServerWaker;
  readonly #jobs = new Set<Promise<unknown>>();
  readonly #stopping = new AbortController();
  readonly #ticking = new AbortController();

  /** @param apiSocket unix socket that systemd has opened, which starts the server; undefined if there is none */
  constructor(paths: Paths, host: Host, log: Log, apiSocket?: string) {
    this.#server = new ServerWaker(apiSocket, log);
    this.#paths = paths;
    this.#host = host;
    this.#log = log;
    const warn = (message: string) => log.warn(message);
    this.#records = new ProcessRecords(host.run.processes, warn);
    this.#orphans = new Orphans(
      this.#records,
      (key) => this.#supervisors.get(key)?.handoff,
      ({ key, secret, pid }, socket) => this.#supervisors.get(key)?.join(secret, pid, socket) ?? false,
    );
    this.#cgroups = new Cgroups(findTree(paths.home), warn);
    this.#logs = new AppLogs(
      () => logDirectories(paths, host),
      (what, error) => log.error(what, { error }),
      host.safeDirectory,
    );
    this.#outputs = new Outputs(host.run.outputs, this.#logs, warn);
    this.#keeper = new Keeper(host.run.outputs, this.#records, warn);
    this.#ports = new HeldPorts(host.run.processes, this.#records, warn);
    this.#oneOffs = new OneOffs({
      records: this.#records,
      outputs: this.#outputs,
      logs: this.#logs,
      user: (key) => host.users?.of(key),
      group: (limits) => this.#cgroups.job(checkLimits(limits.key, limits)),
      logDirectory: (key) => paths.environment(checkedEnvironment(key)).logs,
      idle: (key) => this.#closeUnusedLog(key),
      stopping: this.#stopping.signal,
    });
  }

  /** Takes over what an earlier runner has left: reads the output of apps, kills jobs, and lets workers report. */
  async start(): Promise<void> {
    const warn = (message: string) => this.#log.warn(message);
    const earlier = await this.#records.all();
    await this.#keeper.waitForEarlier();
    // Before this runner opens outputs of its own.
    await this.#outputs.restore();
    void this.#keeper.start();
    await this.#killEarlierJobs(earlier);
    await this.#cgroups.start();
    const { report } = this.#cgroups;
    const level = report.wanted && report.missing.length > 0 ? 'warn' : 'info';
    this.#log[level]('limits by cgroups', { ...report });
    const socket = this.#host.socketPath(this.#paths.orphanSocket);
    await this.#orphans.listen(socket, { open: this.#host.users !== undefined });
    void tickRegularly(
      () => this.#supervisors.values(),
      (error) => this.#log.error('a check of the processes failed', { error }),
      this.#ticking.signal,
    );
    endLeftoversOfEarlier(earlier, this.#records, (key) => this.#userOf(key), warn).catch((error: unknown) =>
      this.#log.error('processes left by earlier ones were not ended', { error }),
    );
  }

  /** Kills the jobs of an earlier runner, and processes that jobs have left which have ended since. */
  async #killEarlierJobs(earlier: ProcessRecord[]): Promise<void> {
    const kill = async ({ key, pid, startTime, mark }: ProcessRecord) => {
      try {
        const isAlive = startTime !== undefined && processStartTime(pid) === startTime;
        if (isAlive) {
          signalProcess(-pid, 'SIGKILL');
          this.#log.warn('a job of an earlier runner was killed', { app: key, pid });
        }
        await endLeftovers({ pid: isAlive ? pid : undefined, mark, user: this.#userOf(key) }, 0);
      } catch (error) {
        // `endLeftoversOfEarlier` tries again. Apps must run in any case.
        this.#log.warn('a job of an earlier runner may have left processes behind', { app: key, pid, error });
      }
    };
    await Promise.all(earlier.filter(({ kind }) => kind === 'job').map(kill));
  }

  /** Starts a server that rests: apps of an earlier runner may have to be started. Call it once this runner accepts connections. */
  wakeServer(): void {
    this.#server.wake();
  }

  /** Ends all jobs and all workers. Workers finish their requests in flight first. */
  async stop(): Promise<void> {
    try {
      this.#stopping.abort(new AppError('cancelled', 'the runner is stopping'));
      const keys = new Set([...this.#supervisors.keys(), ...(await this.#earlierApps())]);
      const stopped = [...keys].map((key) => this.#supervisor(key).stop());
      await Promise.all([...stopped, Promise.allSettled(this.#jobs), this.#oneOffs.ended()]);
      this.#orphans.close();
      this.#ticking.abort();
      this.#keeper.stop();
      await this.#outputs.end();
      await this.#logs.closeAll();
      await this.#ports.dismiss();
    } finally {
      await this.#cgroups.close();
    }
  }

  /** Returns the environments of which processes of an earlier runner are alive. */
  async #earlierApps(): Promise<string[]> {
    const find = () => this.#records.alive();
    const alive = await retryOnShortage('the end of all processes', find, (text) => this.#log.error(text));
    return alive.filter(({ kind }) => kind === 'worker' || kind === 'background').map(({ key }) => key);
  }

  /** Ends jobs and starting generations, and leaves all other processes to the next runner. No output is lost. */
  async leave(): Promise<void> {
    this.#stopping.abort(new AppError('cancelled', 'the runner is being replaced'));
    this.#ticking.abort();
    await Promise.all([...this.#supervisors.values()].map((supervisor) => supervisor.leave()));
    await Promise.allSettled(this.#jobs);
    await this.#oneOffs.ended();
    await this.#outputs.stop();
    await this.#logs.closeAll();
  }

  /**
   * Returns the calls that one connection of the server may make.
   * @param closed aborted when the connection closes: generations that it started and did not switch to are discarded then
   * @param end functions that end the runner: `leave` leaves the workers to the next runner, `shutdown` ends them
   */
  handlers(
    closed: AbortSignal,
    end: Record<'leave' | 'shutdown', () => Promise<void>>,
  ): Handlers<RunnerCalls> {
    const { files, users } = this.#host;
    const standby = new Map<string, () => Promise<void>>();
    const nameOf = (key: string, generation: number) => `${key} ${generation}`;
    closed.addEventListener('abort', () => {
      for (const discard of standby.values()) void discard();
    });
    return {
      hello: async ({ version }) => {
        if (version !== protocolVersion) throw differentVersion(version);
        const { report: limits } = this.#cgroups;
        return { version, pid: process.pid, users: users !== undefined, limits };
      },
      status: async ({ key }) =>
        [...this.#supervisors]
          .filter(([each, { isEmpty }]) => !isEmpty && (key === undefined || each === key))
          .map(([, supervisor]) => supervisor.status()),
      usage: async () => ({ ...descriptorUsage(), ports: this.#ports.report }),
      hold: ({ addresses }) => this.#ports.hold(addresses),
      boot: async ({ spec: asked }, { report, signal }) => {
        const spec = this.#host.withSafePaths(asked);
        checkLimits(spec.key, spec.limits);
        const supervisor = this.#supervisor(spec.key);
        const ended = AbortSignal.any([signal, closed, this.#stopping.signal]);
        const result = await supervisor.startGeneration(spec, (line) => void report({ line }), ended);
        const discard = () => supervisor.discard(result.generation);
        if (closed.aborted) await discard();
        else standby.set(nameOf(spec.key, result.generation), discard);
        return result;
      },
      switch: ({ key, generation, watch = false, restart = false }) => {
        standby.delete(nameOf(key, generation));
        return this.#supervisor(key).switch(generation, { watch, restart });
      },
      watched: ({ key, generation }) => this.#supervisor(key).watched(generation),
      takePort: ({ key, generation, within }, { report, signal }) => {
        const ended = AbortSignal.any([signal, closed, this.#stopping.signal]);
        const waiting = () => void report({ waiting: true });
        return this.#supervisor(key).takePort(generation, within, waiting, ended);
      },
      discard: ({ key, generation }) => {
        standby.delete(nameOf(key, generation));
        return this.#supervisor(key).discard(generation);
      },
      failing: ({ key }) => this.#supervisor(key).failing(),
      replaced: ({ key }) => this.#supervisor(key).replaced(),
      restartProcess: ({ key, process }) => this.#supervisor(key).restartProcess(process),
      // Also if this runner has started nothing: workers of an earlier runner may serve the app.
      stop: ({ key }) => this.#supervisor(key).stop(),
      job: ({ job, limits }, context) => {
        const signal = AbortSignal.any([context.signal, closed, this.#stopping.signal]);
        const user = users?.of(job.user);
        const checked = limits && checkLimits(limits.key, limits);
        const run = async () => {
          // Hooks have no low priority: one of them follows each switch of some apps.
          if (checked !== undefined && job.lowPriority)
            await this.#endStandbys(() => isShortForBuild(checked.memory), signal);
          const group = checked && this.#cgroups.job(checked);
          const release = group?.retain();
          return runJob(job, { ...context, signal }, this.#records, { user, group }).finally(release);
        };
        const running = run();
        this.#jobs.add(running);
        return running.finally(() => this.#jobs.delete(running));
      },
      ...this.#oneOffs.handlers(closed),
      prepare: async ({ key }) => files?.prepare(key),
      own: async ({ key, tree }) => files?.own(key, tree),
      endAll: async ({ key }) => files?.endAll(key),
      forget: async ({ key, aside }) => {
        if (files === undefined) return;
        const { logs } = this.#paths.environment(checkedEnvironment(key));
        await this.#supervisor(key).stop();
        await this.#logs.remove(logs);
        await files.forget(key, aside);
        this.#supervisors.delete(key);
      },
      wakeServer: async ({ after }) => this.#server.wakeIn(after),
      leave: end.leave,
      shutdown: end.shutdown,
    };
  }

  #endStandbys(isShort: () => boolean, signal: AbortSignal): Promise<void> {
    return endStandbys(this.#supervisors.values(), isShort, signal);
  }

  /** Closes the log of an app that does not run, so that its directory can be removed. */
  async #closeUnusedLog(key: string): Promise<void> {
    const isUsed = this.#supervisors.get(key)?.isEmpty === false;
    if (!isUsed) await this.#logs.close(this.#paths.environment(checkedEnvironment(key)).logs);
  }

  /** Returns the user of a job or an app; undefined if that user is gone, and all its processes with it. */
  #userOf(key: string): Identity | undefined {
    const { users } = this.#host;
    return key === '' ? users?.owner : users?.find(key);
  }

  #supervisor(key: string): AppSupervisor {
    const known = this.#supervisors.get(key);
    if (known !== undefined) return known;
    // The key becomes a part of paths.
    checkedEnvironment(key);
    const supervisor = new AppSupervisor({
      key,
      runDirectory: this.#host.run.directory,
      orphanSocket: this.#paths.orphanSocket,
      orphans: this.#orphans,
      records: this.#records,
      cgroups: this.#cgroups,
      outputs: this.#outputs,
      logs: this.#logs,
      user: () => this.#host.users?.of(key),
      endStandbys: (isShort, signal) => this.#endStandbys(isShort, signal),
      safeDirectory: this.#host.safeDirectory,
      log: (message) => this.#log.warn(message, { app: key }),
    });
    this.#supervisors.set(key, supervisor);
    return supervisor;
  }
}

function differentVersion(version: number): AppError {
  return new AppError(
    'protocol_mismatch',
    `the runner speaks version ${protocolVersion}, the server ${version}`,
    { hint: 'Restart both: they are of different releases of Sluice.' },
  );
}

/**
 * Checks limits of the server. They become names and contents of files that root writes, so only numbers may pass.
 * @throws AppError `bad_request`
 */
function checkLimits<Limits extends GenerationLimits>(key: string, limits: Limits): Limits {
  checkedEnvironment(key);
  const { memory, processes, cpuWeight } = limits;
  const isFine = isAmount(memory) && isAmount(processes) && cpuWeight !== null && isAmount(cpuWeight);
  if (!isFine) throw new AppError('bad_request', `the limits of ${key} are not numbers`);
  return limits;
}

function isAmount(value: unknown): boolean {
  return value === null || (typeof value === 'number' && Number.isFinite(value) && value > 0);
}

/** Returns the log directories of all environments, whether or not they run. */
async function logDirectories(paths: Paths, host: Host): Promise<string[]> {
  const directories: string[] = [];
  for (const id of await listEnvironments(paths)) {
    const { logs } = paths.environment(id);
    // An environment that is being made or removed has none.
    if (await exists(logs)) directories.push(host.safeDirectory(logs));
  }
  return directories;
}
