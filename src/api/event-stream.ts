import type { IncomingMessage, ServerResponse } from 'node:http';
import { drained } from './upload.ts';

/** More than this unread by the watcher, and lines of log are left out: one who sleeps must not cost us memory. */
const maxUnread = 1024 ** 2;

/** Text that goes out as it comes about. A watcher who goes away changes nothing for the deploy. */
export class EventStream {
  readonly #response: ServerResponse;

  constructor(response: ServerResponse) {
    this.#response = response;
    response.on('error', () => undefined);
    response.flushHeaders();
  }

  /** For what must arrive. */
  write(text: string): void {
    if (!this.#response.destroyed) this.#response.write(text);
  }

  /** For what may be left out where the watcher does not keep up: the build log has it all. */
  offer(text: string): void {
    if (this.#response.writableLength < maxUnread) this.write(text);
  }

  /** Ends the answer, and lets go of what the sender may still be sending. */
  async end(request: IncomingMessage): Promise<void> {
    if (!request.complete) await drained(request);
    this.#response.end();
  }
}
