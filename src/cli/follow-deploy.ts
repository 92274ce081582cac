import { type CallOptions, linesOf } from '../client/api-client.ts';
import { type EnvironmentId, environmentName } from '../config/paths.ts';
import { describeLive } from '../config/reach.ts';
import type { DeployEvent } from '../deploy/events.ts';
import { AppError } from '../errors/app-error.ts';
import type { Release } from '../releases/release.ts';
import { formatBytes } from '../system/text/format.ts';
import { printableLine } from '../system/text/printable.ts';
import { appPath, connect, ndjson } from './command.ts';
import { hasColours, noteText, paint, print, printJson } from './output.ts';

/**
 * Begins a deploy or a rollback, and follows it to its end. Ctrl-C cancels a deploy: before it has a number by hanging up,
 * afterwards by asking the server. The server finishes a rollback in any case. A second Ctrl-C stops following.
 * @param path of the API, after the app
 * @returns the release that is live
 * @throws AppError why it failed
 */
export async function followDeploy(
  id: EnvironmentId,
  view: DeployView,
  kind: 'deploy' | 'rollback',
  path: string,
  options: CallOptions = {},
): Promise<Release> {
  const client = await connect();
  const hangUp = new AbortController();
  const { signal } = hangUp;
  let number: number | undefined;
  let interrupted = false;
  const interrupt = () => {
    if (interrupted) process.exit(1);
    interrupted = true;
    if (kind === 'rollback')
      return view.note('a rollback cannot be cancelled, and continues (press Ctrl-C again to stop waiting)');
    if (number === undefined) return hangUp.abort();
    view.note('cancelling … (press Ctrl-C again to stop waiting)');
    const cancel = appPath(id, `/releases/${number}/cancel`);
    client.call('POST', cancel).catch((error: Error) => view.note(error.message));
  };
  process.on('SIGINT', interrupt);
  try {
    options.body?.on('data', (chunk: Buffer) => view.uploading(chunk.length));
    const answer = await client.open('POST', appPath(id, path), { ...options, accept: ndjson, signal });
    for await (const line of linesOf(answer)) {
      const event = JSON.parse(line) as DeployEvent;
      if (event.event === 'accepted') number = event.release;
      view.event(event);
      if (event.event === 'live') return event.release;
      if (event.event === 'failed') throw new FailedDeploy(event, kind === 'deploy' ? id : null);
    }
    throw new AppError('not_running', `the connection to the server was lost; the ${kind} may continue`, {
      hint: `Check its state: \`sluice releases ${environmentName(id)}\`.`,
    });
  } catch (error) {
    if (!signal.aborted) throw error;
    throw new AppError('cancelled', 'cancelled before the upload was complete');
  } finally {
    process.off('SIGINT', interrupt);
  }
}

/** Failure of a deploy, with the step at which it failed. */
class FailedDeploy extends AppError {
  /** `release`: number of the release; null if the deploy failed before it had one */
  readonly #at: { step: string | null; release: number | null };

  /** @param logged environment whose build log explains the failure; null for a rollback, which builds nothing */
  constructor({ error, release }: Extract<DeployEvent, { event: 'failed' }>, logged: EnvironmentId | null) {
    const number = release?.number ?? null;
    const hasLog = logged !== null && number !== null && error.code !== 'cancelled';
    const log = hasLog ? `Its log: sluice releases ${environmentName(logged)} ${number} --log` : '';
    super(error.code, error.message, { hint: [log, error.hint].filter((text) => text !== '').join('\n') });
    this.#at = { step: error.step, release: number };
  }

  override toJSON() {
    return { ...super.toJSON(), ...this.#at };
  }
}

export type DeployView = ReturnType<typeof createView>;

/**
 * Creates a view that prints steps, output of the build, and notices. A terminal also shows how much is uploaded.
 * @param json prints only the release that is live, as JSON
 * @param printsLive false if the caller prints that release
 */
export function createView(json?: true, printsLive = true) {
  const counter = process.stderr.isTTY && !json ? process.stderr : undefined;
  let [sent, shown] = [0, 0];
  const show = (text: string) => {
    counter?.write(clearLine);
    if (!json && text !== '') print(text);
  };
  return {
    uploading(bytes: number) {
      sent += bytes;
      const now = performance.now();
      if (now - shown < 100) return;
      shown = now;
      counter?.write(`${clearLine}   uploading: ${formatBytes(sent)}`);
    },
    event(event: DeployEvent) {
      if (json && printsLive && event.event === 'live') printJson(event.release);
      show(describe(event));
    },
    note: (text: string) => show(paint('yellow', text)),
  };
}

/** Ends the count of uploaded bytes. */
const clearLine = '\r\u001b[K';

/** Returns an empty text for `failed`, because every command prints its error at the end. */
function describe(event: DeployEvent): string {
  switch (event.event) {
    case 'accepted':
      return `release ${event.release} of ${event.app}, ${event.environment}`;
    case 'step':
      return paint('bold', `-- ${event.step}`);
    case 'log':
      return `   ${printableLine(event.line, hasColours())}`.trimEnd();
    case 'notice':
      return noteText(event);
    case 'live':
      return `${paint('green', 'live:')} ${describeLive(event)}`;
    case 'failed':
      return '';
  }
}
