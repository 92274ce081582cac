import type { Duplex } from 'node:stream';
import type { FromWorker } from '../../protocol/worker.ts';
import type { Allowance } from '../allowance.ts';
import { AppProcess, type ProcessOptions } from '../app-process.ts';
import { WorkerChannel } from '../generation/worker-channel.ts';
import { Metrics } from '../metrics.ts';

export interface BackgroundHandleOptions extends ProcessOptions {
  /** socket between the process and the runner; undefined for a command, which has none */
  channel: Duplex | undefined;
  /** shared by all processes of the app */
  allowance: Allowance;
}

/** Runner's view of one background process that runs. The process's own view is src/worker/background.cjs. */
export class BackgroundHandle extends AppProcess {
  /** fulfilled when the app has called `process.send('ready')`; never for a command */
  readonly reported: Promise<void>;
  readonly metrics: Metrics;
  readonly #channel: WorkerChannel | undefined;
  readonly #reported = Promise.withResolvers<void>();

  constructor(options: BackgroundHandleOptions) {
    super(options);
    const { channel, allowance, spec } = options;
    this.metrics = new Metrics(spec.log.secrets);
    this.reported = this.#reported.promise;
    const message = (received: FromWorker) => this.#receive(received);
    const refused = () => {
      this.log("wrote into Sluice's channel; Sluice ends the process");
      this.kill();
    };
    this.#channel = channel && new WorkerChannel(channel, { allowance, message, refused });
    void this.exited.then(() => this.#channel?.close());
  }

  get hasChannel(): boolean {
    return this.#channel !== undefined;
  }

  #receive(message: FromWorker): void {
    if (message.type === 'reported') this.#reported.resolve();
    if (message.type === 'metric') this.metrics.note(message);
  }

  protected override postShutdown(): boolean {
    this.#channel?.post({ type: 'shutdown' });
    return this.#channel !== undefined;
  }
}
