import type { Readable, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { AppError } from '../errors/app-error.ts';
import type { PushRequest } from '../git/hook.ts';
import type { GitService } from '../git/service.ts';
import { processStartTime } from '../system/process/processes.ts';

/** How often it is looked whether the hook of a push is still there, in ms. */
const lookInterval = 500;

/** One client of git that is served: its bytes in and out, its end, and what to do when it goes away. */
export class GitExchange {
  readonly input: Writable;
  readonly output: Readable;
  /** when all is over, what we do for it included; `complaint` is what git had to say about it */
  readonly ended: Promise<{ code: number | null; complaint: string }>;
  /** when it is settled what comes of a push: from then on git must come to its end, whether or not its client listens */
  readonly decided: Promise<void>;
  /** aborted, with the reason, when nobody is left to be told what comes of a push */
  readonly abandoned: AbortSignal;
  readonly #abandonment = new AbortController();
  readonly #decision = Promise.withResolvers<void>();
  readonly #service: GitService;
  #asked = false;

  /** @param serve what is to be done for a push that asks something: it is over when there is nothing left to do */
  constructor(
    service: GitService,
    serve: (exchange: GitExchange, request: PushRequest) => Promise<void> = async () => {},
  ) {
    this.#service = service;
    this.input = service.input;
    this.output = service.output;
    this.abandoned = this.#abandonment.signal;
    this.decided = this.#decision.promise;
    this.ended = Promise.all([service.ended, this.#serve(serve)]).then(([end]) => end);
    this.ended.catch(() => undefined);
  }

  /** Tells git what comes of the push. */
  decide(accepted: boolean): void {
    this.#decision.resolve();
    this.#service.hook.answer(accepted);
  }

  /**
   * To be called when the client is gone. What has not all been received is thrown away; a deploy that it asked for is
   * cancelled, unless its switch has begun: then it goes on, and git takes the commit in.
   */
  hangUp(): void {
    this.#abandonment.abort(abandonedBy('whoever pushed it has hung up'));
    this.killUnlessAsked();
  }

  /** Ends it where it waits for nothing that we do. */
  killUnlessAsked(): void {
    if (!this.#asked) this.#service.kill();
  }

  /** Ends it whatever it is at. */
  kill(): void {
    this.#service.kill();
  }

  async #serve(serve: (exchange: GitExchange, request: PushRequest) => Promise<void>): Promise<void> {
    const request = await this.#service.hook.request;
    if (request === null) return;
    this.#asked = true;
    // Without git, or its hook, nothing that comes of the push could be taken in.
    const gone = () => this.#abandonment.abort(abandonedBy('git has been ended'));
    void this.#service.exited.then(gone);
    const over = new AbortController();
    void this.decided.then(() => over.abort());
    void watchProcess(request.pid, over.signal, gone);
    try {
      await serve(this, request);
    } finally {
      over.abort();
    }
  }
}

/** Calls back when a process has ended, unless `signal` aborts first; never where the system does not tell. */
async function watchProcess(pid: number, signal: AbortSignal, onGone: () => void): Promise<void> {
  // Where it cannot be looked at just now, as without a free file descriptor, it counts as there.
  const look = (otherwise: string | undefined) => processStartTime(pid).catch(() => otherwise);
  const startedAt = await look(undefined);
  while (startedAt !== undefined && !signal.aborted) {
    await sleep(lookInterval);
    if (!signal.aborted && (await look(startedAt)) !== startedAt) return onGone();
  }
}

function abandonedBy(what: string): AppError {
  return new AppError('cancelled', `${what} before it was live`, { hint: 'Push it again.' });
}
