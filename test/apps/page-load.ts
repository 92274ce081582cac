import type { Agent } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { fetchText, keepAliveAgent } from '../support/http.ts';

interface PageReport {
  /** answers: times when the request began and ended (`performance.now()`), and as `mark` the release that answered */
  samples: { start: number; end: number; mark: number; pid: number }[];
  /** requests without an answer, or with a wrong one */
  lost: string[];
}

/**
 * Requests `/` of an app with six clients until stopped. Half of the clients keep their connections. Each client pauses for a
 * moment between two requests, so that connections are idle during switches, too, and builds get their share of the CPU.
 */
export class PageLoad {
  readonly #port: number;
  readonly #report: PageReport = { samples: [], lost: [] };
  readonly #clients: Promise<void>[];
  #stopped = false;

  constructor(port: number) {
    this.#port = port;
    this.#clients = Array.from({ length: 6 }, (_, index) => this.#run(index % 2 === 0 && keepAliveAgent()));
  }

  /** Returns the number of requests that `release` has answered so far. */
  answeredBy(release: number): number {
    return this.#report.samples.filter(({ mark }) => mark === release).length;
  }

  async stop(): Promise<PageReport> {
    this.#stopped = true;
    await Promise.all(this.#clients);
    return this.#report;
  }

  async #run(agent: Agent | false): Promise<void> {
    while (!this.#stopped) {
      const start = performance.now();
      try {
        const { status, body } = await fetchText(this.#port, '/', { agent });
        const release = /release (\d+)\./.exec(body)?.[1];
        if (status !== 200 || release === undefined)
          this.#report.lost.push(`${status}: ${body.slice(0, 500)}`);
        else this.#report.samples.push({ start, end: performance.now(), mark: Number(release), pid: 0 });
      } catch (error) {
        this.#report.lost.push(`${agent ? 'kept alive: ' : ''}${(error as Error).message}`);
      }
      await delay(10);
    }
    if (agent) agent.destroy();
  }
}
