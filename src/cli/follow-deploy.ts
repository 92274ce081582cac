import type { IncomingMessage } from 'node:http';
import { type EnvironmentId, environmentName } from '../config/paths.ts';
import type { DeployEvent } from '../deploy/events.ts';
import { AppError } from '../errors/app-error.ts';
import type { Release } from '../releases/release.ts';
import type { ApiClient } from './client.ts';
import type { DeployView } from './deploy-view.ts';
import { lines } from './lines.ts';
import { appPath } from './target.ts';

/**
 * Follows a deploy or a rollback to its end. Ctrl-C cancels a deploy: before it has a number by hanging up, afterwards
 * by asking the server. A rollback, once asked for, goes on: the server would not notice if we hung up either. A second
 * Ctrl-C leaves either to itself.
 * @param begin sends the request
 * @throws AppError why it failed
 */
export async function followDeploy(
  client: ApiClient,
  target: EnvironmentId,
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
    if (kind === 'rollback') {
      return view.note('a rollback cannot be cancelled, and goes on (Ctrl-C again: do not wait for it)');
    }
    if (number === undefined) return hangUp.abort();
    view.note('cancelling … (Ctrl-C again: leave it to itself)');
    const query = { environment: target.environment };
    client.call('POST', appPath(target, `/releases/${number}/cancel`), { query }).catch((error: Error) => {
      view.note(error.message);
    });
  };
  process.on('SIGINT', interrupt);
  try {
    for await (const event of events(await begin(hangUp.signal))) {
      view.event(event);
      if (event.event === 'accepted') number = event.release;
      if (event.event === 'live') return event.release;
      if (event.event === 'failed') throw new FailedDeploy(event, kind === 'deploy' ? target : null);
    }
    throw new AppError('not_running', 'the connection to the server broke off; the deploy may be going on', {
      hint: '`sluice releases APP` shows what became of it.',
    });
  } catch (error) {
    if (!hangUp.signal.aborted) throw error;
    throw new AppError('cancelled', 'cancelled before the upload was complete');
  } finally {
    process.off('SIGINT', interrupt);
  }
}

async function* events(answer: IncomingMessage): AsyncGenerator<DeployEvent> {
  for await (const line of lines(answer)) yield JSON.parse(line) as DeployEvent;
}

/** Why a deploy failed, and at which step, as the API answers it. */
class FailedDeploy extends AppError {
  readonly step: string | null;
  /** the number of the release; null where it failed before it had one */
  readonly release: number | null;

  /** @param logged whose build log tells more; null where none does: the one of a rollback is of an earlier deploy */
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
