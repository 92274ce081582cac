import { AppError } from '../errors/app-error.ts';
import type { GitEnd, GitProcess } from '../git/git-process.ts';
import type { PushRequest } from '../git/hook.ts';

type ServePush = (session: GitSession, request: PushRequest) => Promise<void>;

/** One client of git that is served: the git process, and the push that the client makes. */
export class GitSession {
  readonly git: GitProcess;
  /** settles when git has ended and the push has been served */
  readonly ended: Promise<GitEnd>;
  /** settles when a push is accepted or refused; from then on git must end even if the client does not read */
  readonly decided: Promise<void>;
  readonly #abandonment = new AbortController();
  readonly #decision = Promise.withResolvers<void>();
  #hasRequest = false;

  /** @param servePush serves a push until nothing is left to do */
  constructor(git: GitProcess, servePush: ServePush = async () => {}) {
    this.git = git;
    this.decided = this.#decision.promise;
    this.ended = Promise.all([git.ended, this.#serve(servePush)]).then(([end]) => end);
    this.ended.catch(() => undefined);
  }

  /** Aborts, with the reason, when the client or git has gone: the push then has no use. */
  get abandoned(): AbortSignal {
    return this.#abandonment.signal;
  }

  /** Accepts or refuses the push. */
  decide(accepted: boolean): void {
    this.#decision.resolve();
    this.git.hook.answer(accepted);
  }

  /**
   * Ends the session of a client that has gone. A push that has not arrived whole is dropped. A deploy under way is cancelled,
   * unless its switch has begun: the deploy then continues, and git accepts the commit.
   */
  hangUp(): void {
    this.#abandonment.abort(cancelled('the client of the push disconnected before the release was live'));
    this.killUnlessServing();
  }

  /** Ends git, unless a push waits for our answer. */
  killUnlessServing(): void {
    if (!this.#hasRequest) this.git.kill();
  }

  async #serve(servePush: ServePush): Promise<void> {
    const request = await this.git.hook.request;
    if (request === null) return;
    this.#hasRequest = true;
    // Without git, nothing can accept the push. git ends if its hook was killed.
    const gone = () => this.#abandonment.abort(cancelled('git was ended before the release was live'));
    void this.git.exited.then(gone);
    await servePush(this, request);
  }
}

function cancelled(message: string): AppError {
  return new AppError('cancelled', message, { hint: 'Push again.' });
}
