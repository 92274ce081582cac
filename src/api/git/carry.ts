import type { ServerResponse } from 'node:http';
import { finished, type Readable } from 'node:stream';
import type { GitExchange } from '../../push/session.ts';

/** How long a client may leave unread what git tells it, in ms. */
const unreadTimeout = 60_000;

/** How long a client may send nothing, in ms: git may have to count and compress for minutes before it does. */
const silenceTimeout = 15 * 60_000;

/**
 * Carries bytes between a client and git until both are done. A client that goes away, or stands still for too long, is
 * hung up on; git then goes on to its own end, and what it says is thrown away: a push whose switch has begun must still
 * be taken in.
 * @param begin begins the answer; if `begin` throws, git is ended
 * @returns how git has ended
 */
export async function carry(
  exchange: GitExchange,
  input: Readable,
  output: ServerResponse,
  begin: () => void,
): Promise<{ code: number | null; complaint: string }> {
  const hangUp = () => exchange.hangUp();
  try {
    begin();
  } catch (error) {
    hangUp();
    throw error;
  }
  output.once('close', hangUp);
  // It may be gone since before git was started.
  if (output.destroyed) hangUp();
  // It may have failed already: what it is unzipped from began before git did.
  const stopWatching = finished(input, { writable: false }, (error) => error && hangUp());
  // Git may have heard enough before the client has said all.
  exchange.input.on('error', () => undefined);
  input.pipe(exchange.input);
  const silence = setTimeout(() => output.destroy(), silenceTimeout);
  input.on('data', () => silence.refresh());
  input.once('end', () => clearTimeout(silence));
  // Once it is settled what comes of a push, others wait for git to end: what is left to say, a few MiB at most, waits here.
  let waits = true;
  let goOn = () => {};
  void exchange.decided.then(() => {
    waits = false;
    goOn();
  });
  exchange.output.on('data', (chunk: Buffer) => {
    silence.refresh();
    if (output.destroyed || output.write(chunk) || !waits) return;
    exchange.output.pause();
    const unread = setTimeout(() => output.destroy(), unreadTimeout);
    goOn = () => {
      clearTimeout(unread);
      output.off('drain', goOn).off('close', goOn);
      exchange.output.resume();
    };
    output.on('drain', goOn).on('close', goOn);
  });
  try {
    return await exchange.ended;
  } finally {
    clearTimeout(silence);
    output.off('close', hangUp);
    stopWatching();
    input.unpipe(exchange.input);
  }
}
