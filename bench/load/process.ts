import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Scope } from '../measurement.ts';
import type { Counts } from './crowd.ts';
import type { Command, commands, Reply } from './generator.ts';
import type { OpenLoopOptions, Samples } from './open-loop.ts';

const path = fileURLToPath(new URL('generator.ts', import.meta.url));

/** Process that generates load, one command at a time: the clients do not wait for the benchmark, nor for each other's servers. */
export class LoadProcess {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static start(scope: Pick<Scope, 'after'>): LoadProcess {
    const child = fork(path, { serialization: 'advanced' });
    scope.after(() => child.kill());
    return new LoadProcess(child);
  }

  burst(port: number, connections: number): Promise<Counts> {
    return this.#call('burst', { port, connections });
  }

  webSockets(port: number, connections: number, rate: number): Promise<Counts> {
    return this.#call('webSockets', { port, connections, rate });
  }

  /** Starts requests at fixed times. */
  start(options: OpenLoopOptions): Promise<void> {
    return this.#call('start', options);
  }

  stop(): Promise<Samples> {
    return this.#call('stop', {});
  }

  async #call<T>(name: keyof typeof commands, options: object): Promise<T> {
    this.#child.send({ name, options: options as never } satisfies Command);
    const [reply] = (await once(this.#child, 'message')) as [Reply];
    if ('error' in reply) throw new Error(`${name}: ${reply.error}`);
    return reply.value as T;
  }
}
