import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Duplex, Readable, Writable } from 'node:stream';
import type { DeployEvent } from '../deploy/events.ts';
import { AppError } from '../errors/app-error.ts';
import { explainStart, type GitMode, type GitProgram, gitEnvironment, lowerPriority } from '../git/git.ts';
import { PushHook, type PushRequest } from '../git/hook.ts';
import { releaseRefs } from '../git/refs.ts';
import { withDeadline } from '../system/concurrency/deadline.ts';
import { spawn } from '../system/process/run.ts';
import { explainSizeLimit } from './size-limit.ts';

/** Request of a client of git. */
export interface GitCall {
  program: GitProgram;
  mode: GitMode;
  /** version of git's protocol that the client asks for, such as `version=2`; not checked */
  protocol: string;
  /** client, for the history */
  by: string;
  /** see DeploySource */
  mayAddDomains: boolean;
  /** text that a push shows first, or null */
  warning: string | null;
  /** renders the events that a push shows */
  render: (event: DeployEvent) => string;
}

/** End of a git process. */
export interface GitEnd {
  /** null if a signal ended git */
  code: number | null;
  /** end of what git wrote to stderr */
  complaint: string;
}

/**
 * Settings that let git refuse no ref after the hook: the release is live by then. Garbage is collected at another time. With a
 * line or a keep-alive each second, we notice soon that a client has gone.
 */
const gitSettings = [
  'receive.denyNonFastForwards=false',
  'receive.denyDeletes=false',
  'receive.denyDeleteCurrent=ignore',
  'receive.shallowUpdate=true',
  'receive.autogc=false',
  'receive.keepAlive=1',
  // With atomic pushes, a ref that git cannot set would undo the branch that is live.
  'receive.advertiseAtomic=false',
  'receive.advertisePushOptions=true',
  `transfer.hideRefs=${releaseRefs.replace(/\/$/, '')}`,
  'core.logAllRefUpdates=false',
];

const flags = {
  duplex: [],
  advertise: ['--stateless-rpc', '--advertise-refs'],
  stateless: ['--stateless-rpc'],
} satisfies Record<GitMode, string[]>;

/** Keys and values of git, as in `version=2:object-format=sha1`. */
const protocolWords = /^[\w=:.-]{1,100}$/;

/** Time that a client may pause while it fetches, in seconds. */
const fetchTimeout = 60;

/** Time between SIGTERM and SIGKILL, in ms. */
const killDelay = 2000;

type ServePush = (session: GitSession, request: PushRequest) => Promise<void>;

/** One client of git that is served: the git process, and the push that the client makes. */
export class GitSession {
  readonly input: Writable;
  readonly output: Readable;
  /** passes a chunk of `output` on to the client, with explanations */
  readonly explain: (chunk: Buffer) => Buffer;
  /** pre-receive hook of a push */
  readonly hook: PushHook;
  /** settles when git has ended and all of its output has been read */
  readonly gitEnded: Promise<GitEnd>;
  /** settles when git has ended and the push has been served */
  readonly ended: Promise<GitEnd>;
  readonly #decision = Promise.withResolvers<void>();
  /** settles when a push is accepted or refused; from then on git must end even if the client does not read */
  readonly decided = this.#decision.promise;
  readonly #abandonment = new AbortController();
  /** aborted, with the reason, when the client or git has gone: the push then has no use */
  readonly abandoned = this.#abandonment.signal;
  readonly #child: ChildProcess;
  /** settles when the process has ended, even if others have its streams open */
  readonly #exited: Promise<void>;
  #hasRequest = false;

  private constructor(child: ChildProcess, explain: GitSession['explain'], servePush: ServePush) {
    const [input, output, errors, hook] = child.stdio as unknown as [Writable, Readable, Readable, Duplex];
    this.input = input;
    this.output = output;
    this.explain = explain;
    this.hook = new PushHook(hook);
    this.#child = child;
    let complaint = '';
    errors.setEncoding('utf8').on('data', (text: string) => {
      complaint = (complaint + text).slice(-4000);
    });
    this.#exited = new Promise((resolve) => child.once('exit', () => resolve()));
    this.gitEnded = new Promise((resolve) => {
      child.once('close', (code) => resolve({ code, complaint: complaint.trim() }));
    });
    this.ended = Promise.all([this.gitEnded, this.#serve(servePush)]).then(([end]) => end);
    this.ended.catch(() => undefined);
  }

  /**
   * Starts git for one client. The client's request reaches git only through stdin.
   * @param maxInput limit of a push, in bytes
   * @param servePush serves a push until nothing is left to do
   * @throws AppError `git_missing`
   */
  static async start(
    repository: string,
    { program, mode, protocol }: GitCall,
    maxInput: number,
    servePush: ServePush = async () => {},
  ): Promise<GitSession> {
    const settings = [...gitSettings, `receive.maxInputSize=${maxInput}`];
    const args = [
      ...settings.flatMap((setting) => ['-c', setting]),
      program.slice('git-'.length),
      ...(program === 'git-upload-pack' ? ['--strict', `--timeout=${fetchTimeout}`] : []),
      ...flags[mode],
      repository,
    ];
    const child = spawn('git', args, {
      env: gitEnvironment({ SLUICE_PUSH: '1', GIT_PROTOCOL: protocolWords.test(protocol) ? protocol : '' }),
      // The hook inherits the last one through git: see hooks/pre-receive.
      stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
    });
    // Without a process there are no streams: the system has no room for one more process, or file.
    await once(child, 'spawn').catch((error: unknown) => {
      throw explainStart(error) ?? error;
    });
    lowerPriority(child);
    const isPush = program === 'git-receive-pack' && mode !== 'advertise';
    return new GitSession(child, isPush ? explainSizeLimit(maxInput) : (chunk) => chunk, servePush);
  }

  /** Accepts or refuses the push. */
  decide(accepted: boolean): void {
    this.#decision.resolve();
    this.hook.answer(accepted);
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
    if (!this.#hasRequest) void this.kill();
  }

  /** Ends git with SIGTERM first: git then ends its own children, too. */
  async kill(): Promise<void> {
    this.#child.kill('SIGTERM');
    if ((await withDeadline(this.#exited, killDelay)).timedOut) this.#child.kill('SIGKILL');
  }

  async #serve(servePush: ServePush): Promise<void> {
    const request = await this.hook.request;
    if (request === null) return;
    this.#hasRequest = true;
    // Without git, nothing can accept the push. git ends if its hook was killed.
    const gone = () => this.#abandonment.abort(cancelled('git was ended before the release was live'));
    void this.#exited.then(gone);
    await servePush(this, request);
  }
}

function cancelled(message: string): AppError {
  return new AppError('cancelled', message, { hint: 'Push again.' });
}
