import type { Socket } from 'node:net';
import { duplexPair } from 'node:stream';
import type { GenerationSpec } from '../../src/protocol/runner.ts';
import type { AppProtocol, FromWorker, ToWorker } from '../../src/protocol/worker.ts';
import { Allowance } from '../../src/runner/allowance.ts';
import type { Clock } from '../../src/runner/clock.ts';
import type { Exit } from '../../src/runner/exit.ts';
import {
  WorkerHandle,
  type WorkerListener,
  type WorkerOptions,
} from '../../src/runner/generation/worker-handle.ts';
import type { Handoff } from '../../src/runner/handoff.ts';

/** Clock of tests: time passes only by `advance`. */
export class FakeClock implements Clock {
  #now = 0;
  readonly #sleepers = new Set<{ until: number; wake(): void }>();

  now(): number {
    return this.#now;
  }

  async sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (milliseconds <= 0) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const sleeper = { until: this.#now + milliseconds, wake: resolve };
    this.#sleepers.add(sleeper);
    const abort = () => reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    await promise.finally(() => {
      signal.removeEventListener('abort', abort);
      this.#sleepers.delete(sleeper);
    });
  }

  /** Lets time pass, and then all messages and promises that follow from that. */
  async advance(milliseconds: number): Promise<void> {
    this.#now += milliseconds;
    for (const sleeper of this.#sleepers) if (sleeper.until <= this.#now) sleeper.wake();
    await settled();
  }
}

/** Listener that does nothing. */
export const idleListener: WorkerListener = {
  joined: () => undefined,
  memoryExceeded: () => undefined,
  responded: () => undefined,
  exited: () => undefined,
};

/** Waits until all messages between fake workers and their handles have arrived. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** Behavior of a fake worker. */
export interface FakeWorkerOptions {
  /** exits before it listens */
  dies?: boolean;
  /** never listens */
  boots?: boolean;
  /** answers no message from the start: its event loop stands still */
  isStuck?: boolean;
  /** requests in flight, such as `GET /slow`: it does not drain before `finish` */
  requests?: string[];
  /** it is the process of a command: see Members */
  inExec?: boolean;
  /** SIGTERM does not end it */
  ignoresStop?: boolean;
  /** fulfilled when the processes that it has left running are gone */
  leftoversGone?: Promise<void>;
}

/** Far side of a worker handle: behaves as a worker's process does, within the process of the test. */
export class FakeWorker {
  readonly handle: WorkerHandle;
  readonly instance: number;
  readonly name: string;
  isStuck: boolean;
  readonly #fakes: FakeWorkers;
  readonly #channel: ReturnType<typeof duplexPair>[0];
  readonly #exited = Promise.withResolvers<Exit>();
  readonly #options: FakeWorkerOptions;
  #requests: string[];
  #text = '';
  #isRetired = false;

  constructor(
    fakes: FakeWorkers,
    { release, instance, pid, handoff, renewals = 0, listener, log }: FakeProcess,
  ) {
    this.#fakes = fakes;
    this.#options = fakes.behavior(instance, release);
    this.instance = instance;
    this.name = `${release}.${instance}`;
    this.isStuck = this.#options.isStuck ?? false;
    this.#requests = this.#options.requests ?? [];
    const [near, far] = duplexPair();
    this.#channel = far;
    // Another process would not answer within the same turn.
    far.on('data', (chunk: Buffer) => setImmediate(() => this.#read(chunk)));
    far.on('error', () => undefined);
    this.handle = new WorkerHandle({
      ...{ instance, pid, handoff, listener, renewals },
      channel: this.#options.inExec ? async () => true : near,
      exited: this.#exited.promise,
      endLeftovers: async () => {
        await this.#options.leftoversGone;
        return 0;
      },
      allowance: fakes.allowance,
      output: fakes.output,
      records: { noteRetired: () => undefined, noteMembers: () => undefined, remove: () => undefined },
      spec: { stopSignal: null, shutdownWithMessage: false, killTimeout: 1000, log: { secrets: [] } },
      log,
      clock: fakes.clock,
      signal: (to, signal) => this.#signal(to, signal),
    });
    void this.handle.members?.join(near as Socket, pid);
    if (this.#options.dies) this.exit({ code: 1, signal: null });
    else if (!this.#options.boots) {
      const port = { port: fakes.port, protocol: fakes.protocol, listens: 9001, onlyInterrupt: false };
      this.send({ type: 'ready', ...port });
    }
  }

  send(message: FromWorker): void {
    this.#channel.write(`${JSON.stringify(message)}\n`);
  }

  exit(exit: Exit): void {
    this.#exited.resolve(exit);
  }

  /** Answers the requests in flight. */
  finish(): void {
    this.#requests = [];
    if (this.#isRetired) this.send({ type: 'drained' });
  }

  #signal(to: number, signal: NodeJS.Signals): boolean {
    if (!this.handle.alive) return false;
    this.#fakes.journal.push(`${this.name} ${signal}`);
    if (to > 0 && this.#options.ignoresStop) return true;
    this.exit(signal === 'SIGKILL' ? { code: null, signal } : { code: 0, signal: null });
    return true;
  }

  #read(chunk: Buffer): void {
    const lines = (this.#text + chunk.toString()).split('\n');
    this.#text = lines.pop() ?? '';
    for (const line of lines) this.#receive(JSON.parse(line) as ToWorker);
  }

  #receive(message: ToWorker): void {
    const { type } = message;
    const isWait = type === 'open' && message.wait;
    const isLast = type === 'retire' && message.last;
    if (type === 'evenOut') this.#fakes.evenedOut.push(this.name);
    else if (type !== 'save')
      this.#fakes.journal.push(
        `${this.name} ${type}${isWait ? ' and wait' : ''}${isLast ? ' for good' : ''}`,
      );
    if (this.isStuck) return;
    switch (type) {
      case 'open':
        this.#isRetired = false;
        this.send({ type: 'opened' });
        break;
      case 'save':
        this.send({ type: 'saved' });
        break;
      case 'retire':
        this.#isRetired = true;
        this.send({ type: 'retired' });
        if (this.#requests.length === 0) this.send({ type: 'drained' });
        break;
      case 'reportInFlight':
        for (const request of this.#requests) {
          const [method = '', path = ''] = request.split(' ');
          this.send({ type: 'request', method, path });
        }
        this.send({ type: 'inFlight', requests: this.#requests.length, connections: 0 });
    }
  }
}

interface FakeProcess {
  release: number;
  instance: number;
  pid: number;
  handoff: Handoff;
  renewals?: number;
  listener: WorkerListener;
  log(line: string): void;
}

/** Fake workers of a test, with a journal of all messages and signals to them, such as `2.0 open`. */
export class FakeWorkers {
  readonly all: FakeWorker[] = [];
  readonly journal: string[] = [];
  /** names of the workers that were to even out their connections */
  readonly evenedOut: string[] = [];
  /** lines about workers in the app's log */
  readonly logged: string[] = [];
  readonly clock: Clock;
  readonly allowance = new Allowance(1e9, 1e9, 0);
  readonly output: WorkerOptions['output'];
  protocol: AppProtocol = 'tcp';
  /** port that answers the health checks */
  port = 1;
  /** returns how a worker behaves that is started now */
  behavior: (instance: number, release: number) => FakeWorkerOptions = () => ({});

  constructor(clock: Clock = new FakeClock()) {
    this.clock = clock;
    this.output = {
      end: async () => undefined,
      note: (text: string) => void this.logged.push(text),
      processEnded: async () => undefined,
      everything: { lines: () => [] },
      lastLines: () => ['last words'],
      isBlocked: () => false,
    } as unknown as WorkerOptions['output'];
  }

  /** Starts a worker as `spawnWorker` does. */
  spawn({
    spec,
    ...options
  }: Omit<FakeProcess, 'release' | 'pid'> & { spec: Pick<GenerationSpec, 'release'> }): WorkerHandle {
    // No process can have this pid.
    const pid = 5_000_000 + this.all.length;
    const worker = new FakeWorker(this, { ...options, release: spec.release, pid });
    this.all.push(worker);
    return worker.handle;
  }

  /** Returns the last worker that was started in a slot. */
  last(instance: number, release?: number): FakeWorker {
    const found = this.all.findLast(
      ({ instance: its, name }) =>
        its === instance && (release === undefined || name.startsWith(`${release}.`)),
    );
    if (found === undefined) throw new Error(`no worker in slot ${instance}`);
    return found;
  }

  /** Returns the journal, and clears it. */
  take(): string[] {
    return this.journal.splice(0);
  }
}
