import { constants } from 'node:os';
import type { Appliance } from '../apps/appliance.ts';
import type { Environment } from '../apps/environment.ts';
import { writeHistory } from '../apps/history.ts';
import type { Registry } from '../apps/registry.ts';
import { type OneOffView, oneOffsOf } from '../apps/status.ts';
import type { EnvironmentId } from '../config/paths.ts';
import {
  endOneOffs,
  type OneOffReader,
  type OneOffRequest,
  prepareOneOff,
  runOneOff,
} from '../deploy/one-off.ts';
import { AppError, errorBody } from '../errors/app-error.ts';
import { firstOf } from '../system/concurrency/deadline.ts';
import { levelOf } from '../system/log/log.ts';

/** End of a one-off command, for its caller. */
export interface OneOffEnd {
  /** exit status; 128 and the number of the signal after a signal */
  status: number;
  signal: NodeJS.Signals | null;
  durationMs: number;
  /** reason of a SIGKILL by the kernel; null if there is none */
  shortage: 'memory' | 'processes' | null;
}

/** Use cases of one-off commands. The history gets the start and the end of each. */
export class OneOffService {
  readonly #appliance: Appliance;
  readonly #registry: Registry;
  readonly #stopping: AbortSignal;

  constructor(appliance: Appliance, registry: Registry, stopping: AbortSignal) {
    this.#appliance = appliance;
    this.#registry = registry;
    this.#stopping = stopping;
  }

  /** Returns the one-off commands of an environment that run. */
  async list(id: EnvironmentId): Promise<OneOffView[]> {
    const { name } = await this.#registry.find(id);
    return oneOffsOf(name, await this.#appliance.runner.oneOffs());
  }

  /** Checks that an environment has a live release. @throws AppError `not_deployed` */
  async check(id: EnvironmentId): Promise<void> {
    this.#stopping.throwIfAborted();
    await (await this.#registry.find(id)).requireLiveRelease();
  }

  /**
   * Runs a command in the live release to its end.
   * @param signal ends the command, unless it is detached; so does a stop of the server. The caller does not wait for the end then,
   *   but the history gets it
   * @throws AppError `not_deployed`; errors of the runner; the reason of `signal`
   */
  async run(
    id: EnvironmentId,
    request: OneOffRequest,
    by: string,
    reader: OneOffReader,
    signal: AbortSignal,
  ): Promise<OneOffEnd> {
    const signals = { signal, stopping: this.#stopping };
    const either = AbortSignal.any([signal, this.#stopping]);
    const ended = this.#registry.use(id, async (environment) => {
      const prepared = await prepareOneOff(environment, request, by, either);
      const { command, release } = prepared.command;
      const event = { ...id, action: 'run', by, release, command };
      const started: OneOffReader = {
        started: (handle) => {
          // The removal of the app has ended all commands that ran before.
          if (environment.isBeingRemoved) void endOneOffs(environment, handle.id).catch(() => undefined);
          reader.started(handle);
        },
        output: (stream, data) => reader.output(stream, data),
      };
      await this.#record(environment, event, { outcome: 'started' });
      try {
        const end = endOf(await runOneOff(environment, prepared, started, signals));
        const { status, durationMs } = end;
        await this.#record(environment, event, {
          outcome: status === 0 ? 'done' : 'failed',
          status,
          durationMs,
        });
        return end;
      } catch (error) {
        // A detached command goes on when the server stops. The log of the app gets its end.
        if (!(request.detached && either.aborted))
          await this.#record(environment, event, { outcome: 'failed', code: errorBody(error).code }, error);
        throw error;
      }
    });
    const first = await firstOf([ended], [signal]);
    if (first instanceof AbortSignal) throw signal.reason;
    return first;
  }

  /** Ends a one-off command. @throws AppError `command_not_found` */
  async end(id: EnvironmentId, command: string, by: string): Promise<void> {
    this.#stopping.throwIfAborted();
    const environment = await this.#registry.find(id);
    await endOneOffs(environment, command);
    await this.#record(environment, { ...id, action: 'run stop', by }, { outcome: 'done' });
  }

  async #record(
    { name: app }: Environment,
    event: Omit<Parameters<typeof writeHistory>[1], 'outcome'>,
    end: { outcome: string; status?: number; durationMs?: number; code?: string },
    error?: unknown,
  ): Promise<void> {
    const { log } = this.#appliance;
    const { action, by, release, command } = event;
    const why = error !== undefined && !(error instanceof AppError) ? { error } : {};
    const level = error === undefined ? 'info' : levelOf(error);
    log[level](action, { app, by, release, command, ...end, ...why });
    await writeHistory(this.#appliance, { ...event, ...end });
  }
}

function endOf({ code, signal, durationMs, shortage }: Awaited<ReturnType<typeof runOneOff>>): OneOffEnd {
  const status = code ?? 128 + (signal === null ? 0 : constants.signals[signal]);
  return { status, signal, durationMs, shortage: shortage?.of ?? null };
}
