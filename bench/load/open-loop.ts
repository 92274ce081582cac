import { setTimeout as pause } from 'node:timers/promises';
import { Client } from './client.ts';

export interface OpenLoopOptions {
  port: number;
  /** requests per second, on all connections together */
  rate: number;
  connections: number;
  /** true to choose a connection at random for each request, as if clients were independent; by default, connections take turns */
  random?: boolean;
  path?: string;
}

/** Requests in the order of their answers. Times are milliseconds since the epoch. */
export interface Samples {
  /** times at which the requests were due */
  due: number[];
  answered: number[];
  /** workers that have answered */
  pids: number[];
  /** requests without an answer, or with a wrong one */
  failed: number;
}

/**
 * Sends requests at fixed times, whatever the answers take: a late answer does not spare the next requests. Each request belongs to
 * a connection and waits for the earlier ones of this connection, as in a browser.
 */
export class OpenLoop {
  readonly #options: OpenLoopOptions;
  readonly #samples: Samples = { due: [], answered: [], pids: [], failed: 0 };
  readonly #clients: Client[];
  /** last request of each connection */
  readonly #turns: Promise<void>[];
  #timer: NodeJS.Timeout | undefined;
  #start = 0;
  #sent = 0;

  private constructor(options: OpenLoopOptions) {
    this.#options = options;
    this.#clients = Array.from({ length: options.connections }, () => new Client(options.port));
    this.#turns = this.#clients.map(() => Promise.resolve());
  }

  /** Opens all connections, and starts the schedule. */
  static async start(options: OpenLoopOptions): Promise<OpenLoop> {
    const loop = new OpenLoop(options);
    await Promise.all(loop.#clients.map((client) => client.get()));
    loop.#start = now();
    loop.#schedule();
    return loop;
  }

  async stop(): Promise<Samples> {
    clearTimeout(this.#timer);
    await Promise.race([Promise.all(this.#turns), pause(30_000)]);
    for (const client of this.#clients) client.close();
    return this.#samples;
  }

  #schedule(): void {
    const interval = 1000 / this.#options.rate;
    const due = () => this.#start + this.#sent * interval;
    while (due() <= now()) this.#send(due());
    this.#timer = setTimeout(() => this.#schedule(), Math.max(0, due() - now()));
  }

  #send(due: number): void {
    const { connections, random = false } = this.#options;
    const index = random ? Math.floor(Math.random() * connections) : this.#sent % connections;
    this.#sent += 1;
    this.#turns[index] = (this.#turns[index] as Promise<void>).then(() => this.#request(index, due));
  }

  async #request(index: number, due: number): Promise<void> {
    // A server may close an idle connection: a client opens another one then.
    if (!this.#clients[index]?.isOpen) this.#clients[index] = new Client(this.#options.port);
    const client = this.#clients[index] as Client;
    const { due: times, answered, pids } = this.#samples;
    try {
      const { status, pid } = await client.get(this.#options.path);
      if (status !== 200) throw new Error(`status ${status}`);
      times.push(due);
      answered.push(now());
      pids.push(pid);
    } catch {
      this.#samples.failed += 1;
    }
  }
}

function now(): number {
  return performance.timeOrigin + performance.now();
}
