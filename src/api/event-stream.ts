import type { IncomingMessage, ServerResponse } from 'node:http';
import { type HeldBack, heldBack } from './held-back.ts';
import { drained } from './upload.ts';

/** More than this unread by the watcher, and lines of log are left out: one who sleeps must not cost us memory. */
const maxUnread = 1024 ** 2;

/** Text that goes out as it comes about. A watcher who goes away changes nothing for the deploy. */
export class EventStream {
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #out: HeldBack;

  constructor(request: IncomingMessage, response: ServerResponse) {
    this.#request = request;
    this.#response = response;
    this.#out = heldBack(request, response);
  }

  /** For what must arrive. */
  write(text: string): void {
    if (!this.#response.destroyed) this.#out.write(text);
  }

  /** For what may be left out where the watcher does not keep up: the build log has it all. */
  offer(text: string): void {
    if (this.#response.writableLength < maxUnread) this.write(text);
  }

  /** Ends the answer, and lets go of what the sender may still be sending. */
  async end(): Promise<void> {
    if (!this.#request.complete) await drained(this.#request);
    this.#out.release();
    this.#response.end();
  }
}
