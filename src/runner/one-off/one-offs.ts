import { AppError } from '../../errors/app-error.ts';
import type { Handlers } from '../../protocol/peer.ts';
import {
  type JobLimits,
  type OneOffSpec,
  type OneOffStatus,
  oneOffSignals,
  type RunnerCalls,
} from '../../protocol/runner.ts';
import type { Cgroup } from '../cgroups/cgroup.ts';
import { checkedEnvironment, type Identity } from '../users/identity.ts';
import { OneOff, type OneOffContext } from './one-off.ts';

/** Limits the one-off commands of an environment that run at the same time: each takes descriptors of the runner. */
const mostOfOne = 32;

interface OneOffsOptions extends Omit<OneOffContext, 'user' | 'group'> {
  /** returns the user of an environment, if apps have users. @throws AppError `user_refused` */
  user(key: string): Identity | undefined;
  /** makes the cgroup of a command. @throws AppError `bad_request` */
  group(limits: JobLimits): Cgroup;
  /** returns the directory of the log of an environment */
  logDirectory(key: string): string;
  /** called when the last command of an environment has ended */
  idle(key: string): Promise<void>;
  /** aborted when the runner ends */
  stopping: AbortSignal;
}

type Calls = 'run' | 'input' | 'endInput' | 'resize' | 'signal' | 'oneOffs' | 'endOneOffs';

interface Running {
  oneOff: OneOff;
  key: string;
  ending: AbortController;
  ended: Promise<void>;
}

/** One-off commands of all environments. */
export class OneOffs {
  readonly #options: OneOffsOptions;
  readonly #running = new Set<Running>();

  constructor(options: OneOffsOptions) {
    this.#options = options;
  }

  /** Waits until all commands have ended. */
  async ended(): Promise<void> {
    await Promise.all([...this.#running].map(({ ended }) => ended));
  }

  /**
   * Returns the calls that one connection of the server may make.
   * @param closed aborted when the connection closes: its command is ended then, unless it is detached
   */
  handlers(closed: AbortSignal): Pick<Handlers<RunnerCalls>, Calls> {
    let own: OneOff | undefined;
    const ofThisConnection = () => {
      if (own !== undefined) return own;
      throw new AppError('bad_request', 'no one-off command runs on this connection');
    };
    return {
      run: ({ command, limits }, { report, signal }) => {
        if (own !== undefined) throw new AppError('bad_request', 'a connection may run one command');
        const cancelled = new AbortController();
        signal.addEventListener('abort', () =>
          cancelled.abort(new AppError('cancelled', 'the client hung up')),
        );
        const running = this.#start(command, limits, report, [closed, cancelled.signal]);
        own = running.oneOff;
        return running.result;
      },
      input: async ({ data }) => ofThisConnection().write(Buffer.from(data, 'base64')),
      endInput: async () => ofThisConnection().endInput(),
      resize: async (size) => ofThisConnection().resize(size),
      signal: async ({ signal }) => {
        if (!oneOffSignals.includes(signal)) throw new AppError('bad_request', 'invalid signal');
        ofThisConnection().signal(signal);
      },
      oneOffs: async () => this.#status(),
      endOneOffs: ({ key, id }) => this.#end(key, id),
    };
  }

  #status(): OneOffStatus[] {
    return [...this.#running].map(({ oneOff }) => oneOff.status());
  }

  async #end(key: string, id: string | undefined): Promise<number> {
    const meant = [...this.#running].filter(
      (each) => each.key === key && (id === undefined || each.oneOff.id === id),
    );
    for (const { ending } of meant) ending.abort(new AppError('cancelled', 'somebody stopped the command'));
    await Promise.all(meant.map(({ ended }) => ended));
    return meant.length;
  }

  #start(
    asked: OneOffSpec,
    limits: JobLimits,
    report: Parameters<OneOff['run']>[0],
    connection: AbortSignal[],
  ) {
    const { user, group, logDirectory, idle, stopping, ...context } = this.#options;
    const { key } = asked;
    checkedEnvironment(key);
    if (limits.key !== key) throw new AppError('bad_request', `the limits are for ${limits.key}, not ${key}`);
    if (!Number.isSafeInteger(asked.release) || asked.release < 1)
      throw new AppError('bad_request', `invalid release number: ${asked.release}`);
    const ofKey = () => [...this.#running].filter((each) => each.key === key);
    if (ofKey().length >= mostOfOne) throw tooMany(key);
    const spec = { ...asked, log: { ...asked.log, directory: logDirectory(key) } };
    const owner = user(key);
    const cgroup = group(limits);
    const release = cgroup.retain();
    const oneOff = new OneOff(spec, { ...context, user: owner, group: cgroup });
    const ending = new AbortController();
    const signal = AbortSignal.any([ending.signal, stopping, ...(spec.detached ? [] : connection)]);
    const result = oneOff.run(report, signal).finally(release);
    const running: Running = { oneOff, key, ending, ended: Promise.resolve() };
    running.ended = result
      .then(
        () => undefined,
        () => undefined,
      )
      .then(async () => {
        this.#running.delete(running);
        if (ofKey().length === 0) await idle(key);
      });
    this.#running.add(running);
    return { oneOff, result };
  }
}

function tooMany(key: string): AppError {
  return new AppError('too_many_commands', `${mostOfOne} one-off commands of ${key} run already`, {
    hint: `List them: \`sluice status ${key}\`. End one: \`sluice run ${key} --stop ID\`.`,
  });
}
