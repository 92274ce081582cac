import { AppError } from '../../errors/app-error.ts';
import type { AppLogs } from '../../logs/app-logs.ts';
import type { GenerationSpec } from '../../protocol/runner.ts';
import { describeError } from '../../system/log/log.ts';
import type { ProcessRecords } from '../takeover/process-records.ts';
import { ListeningPort } from './listening-port.ts';

interface AppPortOptions {
  key: string;
  records: ProcessRecords;
  logs: AppLogs;
  log(message: string): void;
}

/** Port of one environment, which its generations share. Another one replaces it if the app moves to another port. */
export class AppPort {
  readonly #options: AppPortOptions;
  #current: ListeningPort | undefined;

  constructor(options: AppPortOptions) {
    this.#options = options;
  }

  /** Undefined while no generation needs a port. */
  get current(): ListeningPort | undefined {
    return this.#current;
  }

  /** Returns the bound port of a release, which is that of the release before if both have the same. @throws AppError `port_taken` */
  async bind(spec: GenerationSpec): Promise<ListeningPort> {
    const { host, port, release, log } = spec;
    if (this.#current?.host === host && this.#current.port === port) return this.#current;
    const { key, records, logs } = this.#options;
    const alive = await records.alive();
    const mayHavePort = alive.some(({ kind, key: its }) => kind === 'worker' && its === key);
    const bound = await ListeningPort.bind(spec, mayHavePort).catch((error: unknown) => {
      if (error instanceof AppError) {
        const text = `release ${release} cannot start: ${error.message}. ${error.hint}`;
        void logs.get(log).report({ release, process: '-' }, text);
      }
      throw error;
    });
    this.use(bound);
    return bound;
  }

  /** Replaces the port, and closes the former one. Workers that still use it have copies of its socket. */
  use(port: ListeningPort): void {
    if (port === this.#current) return;
    this.close();
    this.#current = port;
  }

  close(): void {
    this.#current?.close();
    this.#current = undefined;
  }

  /** Lets clients wait until a worker accepts; without this, their connections are refused. */
  async letClientsWait(): Promise<void> {
    try {
      await this.#current?.listen();
    } catch (error) {
      this.#options.log(`clients are refused until a worker accepts: ${describeError(error)}`);
    }
  }

  /** Lets clients be refused. Workers that have copies of the socket cannot open again. */
  refuseClients(): void {
    try {
      this.#current?.renew();
    } catch (error) {
      this.#options.log(
        `clients of the app that is down wait instead of being refused: ${describeError(error)}`,
      );
    }
  }
}
