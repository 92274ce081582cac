import type { Socket } from 'node:net';
import type { FromWorker, ToWorker } from '../../protocol/worker.ts';
import type { Allowance } from '../allowance.ts';
import { NotAMessage, WorkerMessages } from './worker-messages.ts';

interface ChannelOptions {
  /** shared by all workers of the app */
  allowance: Allowance;
  message(message: FromWorker): void;
  /** called once if the app itself has written into the channel */
  refused(): void;
}

/**
 * The runner's end of the socket between runner and worker; src/worker/channel.cjs is the other end. The app may write
 * anything into the socket. The kernel drops descriptors that are sent along, since this is no IPC channel. Anything but a
 * message ends the channel. Messages wait in the kernel if an app sends more than it may, or if the worker does not read our
 * answers.
 */
export class WorkerChannel {
  readonly #socket: Socket;
  readonly #options: ChannelOptions;
  readonly #messages = new WorkerMessages();
  #rest: NodeJS.Timeout | undefined;

  constructor(socket: Socket, options: ChannelOptions) {
    this.#socket = socket;
    this.#options = options;
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('drain', () => this.#readOn());
    socket.on('close', () => clearTimeout(this.#rest));
    // The worker is dying. Its exit follows, and the exit is handled.
    socket.on('error', () => undefined);
  }

  post(message: ToWorker): void {
    if (this.#socket.writable) this.#socket.write(`${JSON.stringify(message)}\n`);
    if (this.#socket.writableNeedDrain) this.#socket.pause();
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(chunk: Buffer): void {
    const wait = this.#options.allowance.take(chunk.length, performance.now());
    try {
      for (const message of this.#messages.push(chunk)) {
        // A message may be the reason to close.
        if (this.#socket.destroyed) return;
        this.#options.message(message);
      }
    } catch (error) {
      if (!(error instanceof NotAMessage)) throw error;
      this.close();
      this.#options.refused();
      return;
    }
    if (wait === 0) return;
    this.#socket.pause();
    this.#rest = setTimeout(() => {
      this.#rest = undefined;
      this.#readOn();
    }, wait);
  }

  #readOn(): void {
    if (this.#rest === undefined && !this.#socket.writableNeedDrain) this.#socket.resume();
  }
}
