import type { AppRepository } from '../apps/app-repository.ts';
import type { EnvironmentId } from '../config/paths.ts';
import type { DeploySource } from '../deploy/deploy.ts';
import type { DeployEvent } from '../deploy/events.ts';
import { AppError, errorBody } from '../errors/app-error.ts';
import type { PushHook, PushRequest } from '../git/hook.ts';
import { collide, heads, isNone, type RefUpdate } from '../git/refs.ts';
import type { Repository } from '../git/repository.ts';
import type { Release, ReleaseRecord } from '../releases/release.ts';
import { type Log, levelOf } from '../system/log/log.ts';
import { printableLine } from '../system/text/printable.ts';
import { planPush } from './plan.ts';
import { missingNotice, originOf, settingsIn } from './pushed-commit.ts';
import type { GitCall, GitSession } from './session.ts';

/** Limit of the refs of a push that are logged. */
const maxLoggedRefs = 10;

/** Deploys to an environment, which is created on first use. @throws AppError of the step that failed */
export type Deploy = (
  id: EnvironmentId,
  source: DeploySource,
  onEvent: (event: DeployEvent) => void,
) => Promise<Release>;

interface PushContext {
  app: string;
  repository: AppRepository;
  call: GitCall;
  log: Log;
  /** returns the live release of an environment, or null */
  liveRelease(id: EnvironmentId): Promise<ReleaseRecord | null>;
  deploy: Deploy;
}

/**
 * Serves a push that git has received and that waits in its pre-receive hook. The push is accepted once its commit is live. A
 * refused push leaves no objects behind, and its branch does not move.
 */
export async function servePush(
  session: GitSession,
  request: PushRequest,
  context: PushContext,
): Promise<void> {
  const { app, call, log, repository } = context;
  const refs = request.updates.slice(0, maxLoggedRefs).map(({ ref }) => ref.slice(0, 200));
  const fields = { app, by: call.by, refs };
  let update: RefUpdate | null = null;
  let accepted = false;
  try {
    update = await repository.withQuarantine(request.quarantine, (pushed) =>
      deployPush(session, pushed, request, context),
    );
    accepted = true;
    log.info('push accepted', fields);
  } catch (error) {
    const reason = error instanceof AppError ? error.toJSON() : { error };
    log[levelOf(error)]('push refused', { ...fields, ...reason });
  }
  using _ = await repository.refsLock.take();
  try {
    if (update !== null) await prepareBranches(repository, update);
  } finally {
    session.decide(accepted);
    await session.gitEnded;
  }
}

/**
 * Deploys the branch of a push.
 * @param repository the repository with the objects of the push
 * @returns the change of that branch; null if the push has nothing to deploy
 * @throws if the push is refused, after the client was shown the reason
 */
async function deployPush(
  { abandoned, hook }: GitSession,
  repository: Repository,
  request: PushRequest,
  { app, call, liveRelease, deploy }: PushContext,
): Promise<RefUpdate | null> {
  if (call.warning !== null) hook.write(call.warning);
  const show = eventWriter(hook, call);
  try {
    abandoned.throwIfAborted();
    const plan = await planPush(app, request, repository, (commit) => settingsIn(repository, commit));
    if (plan.action === 'accept') {
      hook.write(`${plan.note}\n`);
      return null;
    }
    const id = { app, environment: plan.environment };
    const live = await liveRelease(id);
    const origin = await originOf(repository, plan, call.by, live?.source.commit ?? null);
    const commit = plan.update.new;
    const submodules = await repository.submodules(commit);
    const body = repository.archive(commit);
    const noCache = request.options.includes('no-cache');
    for (const option of request.options.filter((each) => each !== 'no-cache'))
      hook.write(`note: unknown push option ${printableLine(option, false)} (Sluice knows no-cache)\n`);
    const review = async () => missingNotice(repository, commit, live, await liveRelease(id));
    try {
      const { mayAddDomains } = call;
      const source = {
        ...{ origin, body, contentLength: null, submodules, mayAddDomains, abandoned, review, noCache },
      };
      await deploy(id, source, show);
    } finally {
      body.destroy();
    }
    return plan.update;
  } catch (error) {
    show({ event: 'failed', release: null, error: { ...errorBody(error), step: null } });
    throw error;
  }
}

/** Returns a function that shows the events of a deploy to the client. Only the first failure is shown. */
function eventWriter(hook: PushHook, { render }: GitCall): (event: DeployEvent) => void {
  let hasFailed = false;
  return (event) => {
    if (event.event === 'log') return hook.offer(render(event));
    if (event.event !== 'failed' || !hasFailed) hook.write(render(event));
    hasFailed ||= event.event === 'failed';
  };
}

/**
 * Prepares the branches so that git can change the pushed one. Another push may have moved the branch since this push began: the
 * branch goes back to where git expects it. Branches that exclude it are removed.
 */
async function prepareBranches(repository: Repository, { ref, old }: RefUpdate): Promise<void> {
  const actual = await repository.refs(heads);
  const expected = isNone(old) ? undefined : old;
  const changes = new Map<string, string | null>();
  for (const other of actual.keys()) if (collide(other, ref)) changes.set(other, null);
  if (actual.get(ref) !== expected) changes.set(ref, expected ?? null);
  await repository.updateRefs(changes);
}
