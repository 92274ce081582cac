import { finished, type Readable } from 'node:stream';
import type { GitMode, GitProgram } from '../../git/git.ts';
import type { GitEnd } from '../../push/session.ts';
import type { AppService } from '../../service/app-service.ts';
import type { ApiContext } from '../context.ts';
import { renderPush } from '../deploy-text.ts';

/** Time that a client may leave the output of git unread, in ms. */
const unreadTimeout = 60_000;

/** Time that a client may send nothing, in ms: git may count and compress objects for minutes before it sends. */
const silenceTimeout = 15 * 60_000;

interface GitRequest {
  app: string;
  program: GitProgram;
  mode: GitMode;
  /** bytes from the client's git */
  input: Readable;
  /** text that a push shows first, or null */
  warning: string | null;
  /** begins the answer */
  begin: () => void;
}

/**
 * Serves a client of git until both have ended. Closes the connection of a client that stalls. After a disconnect, git runs to its
 * own end and its output is dropped, because git must still accept a push whose switch has begun.
 * @returns the end of git
 */
export async function serveGit(
  ctx: Pick<ApiContext, 'get' | 'res' | 'respond' | 'state'>,
  appService: AppService,
  { app, input, begin, ...call }: GitRequest,
): Promise<GitEnd> {
  const { res: output } = ctx;
  const protocol = ctx.get('git-protocol');
  const { name: by, app: onlyApp } = ctx.state.principal;
  const session = await appService.git.open(app, {
    ...{ ...call, protocol, by },
    mayAddDomains: onlyApp === null,
    render: renderPush,
  });
  ctx.respond = false;
  begin();
  const hangUp = () => session.hangUp();
  output.once('close', hangUp);
  // The client may have disconnected before git was started.
  if (output.destroyed) hangUp();
  // The input may have failed already: gunzip begins before git does.
  const stopWatching = finished(input, { writable: false }, (error) => error && hangUp());
  // git may end before it has read all input.
  session.input.on('error', () => undefined);
  input.pipe(session.input);
  using silence = setTimeout(() => output.destroy(), silenceTimeout);
  input.on('data', () => silence.refresh());
  input.once('end', () => clearTimeout(silence));
  // After the decision about a push, others wait for git to end. The rest of the output, a few MiB at most, is buffered here.
  let isDecided = false;
  let resume = () => {};
  void session.decided.then(() => {
    isDecided = true;
    resume();
  });
  session.output.on('data', (chunk: Buffer) => {
    silence.refresh();
    if (output.destroyed || output.write(session.explain(chunk)) || isDecided) return;
    session.output.pause();
    const unread = setTimeout(() => output.destroy(), unreadTimeout);
    resume = () => {
      clearTimeout(unread);
      output.off('drain', resume).off('close', resume);
      session.output.resume();
    };
    output.on('drain', resume).on('close', resume);
  });
  try {
    return await session.ended;
  } finally {
    output.off('close', hangUp);
    stopWatching();
    input.unpipe(session.input);
  }
}
