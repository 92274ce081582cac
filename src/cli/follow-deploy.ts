import type { IncomingMessage } from 'node:http';
import { type ApiClient, linesOf } from '../client/api-client.ts';
import { type EnvironmentId, environmentName } from '../config/paths.ts';
import { localOnlyRemark } from '../config/reach.ts';
import type { DeployEvent } from '../deploy/events.ts';
import { AppError } from '../errors/app-error.ts';
import type { Release } from '../releases/release.ts';
import { formatBytes, formatDuration } from '../system/text/format.ts';
import { printableLine } from '../system/text/printable.ts';
import { appPath } from './command.ts';
import { hasColours, noteText, paint, print } from './output.ts';

/**
 * Follows a deploy or a rollback to its end. Ctrl-C cancels a deploy: before it has a number by hanging up, afterwards
 * by asking the server. The server finishes a rollback in any case. A second Ctrl-C stops following.
 * @param begin sends the request
 * @throws AppError why it failed
 */
export async function followDeploy(
  client: ApiClient,
  id: EnvironmentId,
  view: DeployView,
  kind: 'deploy' | 'rollback',
  begin: (signal: AbortSignal) => Promise<IncomingMessage>,
): Promise<Release> {
  const hangUp = new AbortController();
  let number: number | undefined;
  let interrupted = false;
  const interrupt = () => {
    if (interrupted) process.exit(1);
    interrupted = true;
    if (kind === 'rollback')
      return view.note('a rollback cannot be cancelled, and continues (Ctrl-C again: do not wait for it)');
    if (number === undefined) return hangUp.abort();
    view.note('cancelling … (Ctrl-C again: do not wait for it)');
    const query = { environment: id.environment };
    const path = appPath(id, `/releases/${number}/cancel`);
    client.call('POST', path, { query }).catch((error: Error) => view.note(error.message));
  };
  process.on('SIGINT', interrupt);
  try {
    for await (const line of linesOf(await begin(hangUp.signal))) {
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
    if (!hangUp.signal.aborted) throw error;
    throw new AppError('cancelled', 'cancelled before the upload was complete');
  } finally {
    process.off('SIGINT', interrupt);
  }
}

/** Failure of a deploy, with the step at which it failed. */
class FailedDeploy extends AppError {
  readonly step: string | null;
  /** number of the release; null if it failed before it had one */
  readonly release: number | null;

  /** @param logged environment whose build log explains the failure; null for a rollback, which builds nothing */
  constructor({ error, release }: Extract<DeployEvent, { event: 'failed' }>, logged: EnvironmentId | null) {
    const number = release?.number ?? null;
    const hasLog = logged !== null && number !== null && error.code !== 'cancelled';
    const log = hasLog ? `Its log: sluice releases ${environmentName(logged)} ${number} --log` : '';
    super(error.code, error.message, { hint: [error.hint, log].filter((text) => text !== '').join('\n') });
    this.step = error.step;
    this.release = number;
  }

  override toJSON() {
    return { ...super.toJSON(), step: this.step, release: this.release };
  }
}

/** Shows the progress of a deploy. */
export interface DeployView {
  uploading(bytes: number): void;
  event(event: DeployEvent): void;
  note(text: string): void;
}

/** View for --json, which prints the outcome alone. */
export const silentView: DeployView = { uploading: () => {}, event: () => {}, note: () => {} };

/** Creates a view that prints steps, output of the build, and notices. A terminal also shows how much is uploaded. */
export function createView(): DeployView {
  const counter = process.stderr.isTTY ? process.stderr : undefined;
  let counting = false;
  let shown = 0;
  const endCount = () => {
    if (counting) counter?.write('\r\u001b[K');
    counting = false;
  };
  return {
    uploading(bytes) {
      const now = performance.now();
      if (counter === undefined || now - shown < 100) return;
      shown = now;
      counting = true;
      counter.write(`\r\u001b[K   uploading: ${formatBytes(bytes)}`);
    },
    event(event) {
      endCount();
      const text = describe(event);
      if (text !== '') print(text);
    },
    note(text) {
      endCount();
      print(paint('yellow', text));
    },
  };
}

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
    case 'live': {
      const { url, number } = event.release;
      const reach = localOnlyRemark(url, event.release);
      return `${paint('green', 'live:')} ${url} release ${number} in ${formatDuration(event.tookMs)}${reach}`;
    }
    case 'failed':
      return '';
  }
}
