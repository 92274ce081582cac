import { maxSettingsBytes, parseJsonSettings } from '../config/json-settings.ts';
import { loadAppSettings } from '../config/load.ts';
import type { Target } from '../config/paths.ts';
import { AppError, errorBody } from '../errors/app-error.ts';
import { isNone, type PushRequest, type RefUpdate } from '../git/hook-port.ts';
import { collide } from '../git/refs.ts';
import type { Repository } from '../git/repository.ts';
import type { GitService } from '../git/services.ts';
import type { CommitLine, Release, ReleaseSource } from '../releases/release.ts';
import { noCommit } from '../releases/release.ts';
import { describeError, type Log } from '../system/log.ts';
import type { AppRepository } from './app-repository.ts';
import type { DeployEvent } from './events.ts';
import { type PushPlan, planPush } from './push-plan.ts';
import type { DeploySource, GitCall } from './service.ts';

export interface PushContext {
  app: string;
  place: AppRepository;
  call: GitCall;
  /** aborted when the pusher is gone */
  abandoned: AbortSignal;
  log: Log;
  /** commit of the live release of an environment; null where none is live, or git knows nothing of it */
  liveCommit(target: Target): Promise<string | null>;
  deploy(target: Target, source: DeploySource, onEvent: (event: DeployEvent) => void): Promise<Release>;
}

/**
 * Serves a push to its end: git has received it and asks, by its pre-receive hook, whether to accept it. It is accepted
 * when its commit is live; else nothing of it is kept, and the branch stays what is running.
 */
export async function servePush(service: GitService, context: PushContext): Promise<void> {
  const request = await service.hook.request;
  if (request === null) return;
  const { place } = context;
  let failure: unknown;
  const update = await answerPush(service, context, request).catch((error: unknown) => {
    failure = error;
    return null;
  });
  const accepted = failure === undefined;
  context.log(accepted ? 'push accepted' : 'push refused', {
    app: context.app,
    by: context.call.by,
    refs: request.updates.map(({ ref }) => ref.slice(0, 200)),
    ...(failure instanceof AppError && { code: failure.code, message: failure.message }),
    ...(!accepted && !(failure instanceof AppError) && { error: describeError(failure) }),
  });
  using _ = await place.refs.take();
  try {
    if (update !== null) await letGitFind(place.repository, update);
  } finally {
    service.hook.answer(accepted);
    await service.ended;
  }
}

/** @returns the change of the branch that was deployed; null where there was nothing to deploy. @throws where it is refused */
async function answerPush(
  { hook }: GitService,
  context: PushContext,
  request: PushRequest,
): Promise<RefUpdate | null> {
  const { app, place, call, deploy, abandoned } = context;
  const repository = place.repository.within(request.quarantine);
  let told = false;
  const show = (event: DeployEvent) => {
    told ||= event.event === 'failed';
    if (event.event === 'log') hook.offer(call.render(event));
    else hook.tell(call.render(event));
  };
  try {
    const plan = await planPush(app, request.updates, factsOf(repository));
    if (plan.action === 'accept') {
      hook.tell(`${plan.note}\n`);
      return null;
    }
    const target = { app, environment: plan.environment };
    const origin = await originOf(repository, plan, call.by, await context.liveCommit(target));
    const commit = plan.update.new;
    const submodules = await repository.submodules(commit);
    const body = repository.archive(commit);
    try {
      await deploy(target, { origin, body, contentLength: null, submodules, abandoned }, show);
    } finally {
      body.destroy();
    }
    return plan.update;
  } catch (error) {
    if (!told) show({ event: 'failed', release: null, error: { ...errorBody(error), step: null } });
    throw error;
  }
}

/**
 * Puts the branches to where git can change this one: to where it was when this push began, since another push may have
 * moved it meanwhile, and with none in its way. From now on until git has ended nobody else moves them.
 */
async function letGitFind(repository: Repository, { ref, old }: RefUpdate): Promise<void> {
  const there = await repository.refs('refs/heads/');
  const expected = isNone(old) ? undefined : old;
  const changes = new Map<string, string | null>();
  for (const other of there.keys()) if (collide(other, ref)) changes.set(other, null);
  if (there.get(ref) !== expected) changes.set(ref, expected ?? null);
  await repository.updateRefs(changes);
}

function factsOf(repository: Repository) {
  return {
    typeOf: (object: string) => repository.typeOf(object),
    settingsIn: (commit: string) =>
      loadAppSettings(async (name) => {
        const text = await repository.file(commit, name, maxSettingsBytes);
        return text === undefined ? undefined : parseJsonSettings(text, name);
      }),
  };
}

async function originOf(
  repository: Repository,
  { branch, update }: Extract<PushPlan, { action: 'deploy' }>,
  by: string,
  live: string | null,
): Promise<ReleaseSource> {
  const { id, author, message } = await repository.commit(update.new);
  const known = live !== null && (await repository.having([live])).has(live);
  const changes = known ? await repository.changes(live, id) : undefined;
  const commits = changes?.commits.map(
    (commit): CommitLine => ({ commit: commit.id, author: commit.author, subject: commit.message }),
  );
  return {
    ...noCommit,
    ...{ kind: 'git', by, commit: id, branch, author, message },
    commits: commits ?? [],
    commitCount: changes?.count ?? null,
  };
}
