import type { Readable, Writable } from 'node:stream';
import { AppError } from '../errors/app-error.ts';
import type { GitService } from '../git/services.ts';

/** One client of git that is served: its bytes in and out, its end, and what to do when it goes away. */
export class GitExchange {
  readonly input: Writable;
  readonly output: Readable;
  /** when all is over, what we do for it included; `complaint` is what git had to say about it */
  readonly ended: Promise<{ code: number | null; complaint: string }>;
  /** aborted, with the reason, when the client is gone */
  readonly abandoned: AbortSignal;
  readonly #abandonment = new AbortController();
  readonly #service: GitService;
  #asked = false;

  /** @param serve what is to be done for a push that asks something: it is over when there is nothing left to do */
  constructor(service: GitService, serve: (exchange: GitExchange) => Promise<void> = async () => {}) {
    this.#service = service;
    this.input = service.input;
    this.output = service.output;
    this.abandoned = this.#abandonment.signal;
    const asked = service.hook.request.then((request) => {
      this.#asked = request !== null;
    });
    const served = asked.then(() => serve(this));
    this.ended = Promise.all([service.ended, served]).then(([end]) => end);
    this.ended.catch(() => undefined);
  }

  /**
   * To be called when the client is gone. What has not all been received is thrown away; a deploy that it asked for is
   * cancelled, unless its switch has begun: then it goes on, and git takes the commit in.
   */
  hangUp(): void {
    if (this.#asked) this.#abandonment.abort(hungUp());
    else this.#service.kill();
  }

  /** Ends it whatever it is at. */
  kill(): void {
    this.#service.kill();
  }
}

function hungUp(): AppError {
  return new AppError('cancelled', 'whoever pushed it has hung up before it was live', {
    hint: 'Push it again.',
  });
}
