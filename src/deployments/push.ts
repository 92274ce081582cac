import { maxSettingsBytes, parseJsonSettings } from '../config/json-settings.ts';
import { loadAppSettings } from '../config/load.ts';
import type { Target } from '../config/paths.ts';
import { AppError, errorBody } from '../errors/app-error.ts';
import { type HookPort, isNone, type PushRequest, type RefUpdate } from '../git/hook-port.ts';
import { collide } from '../git/refs.ts';
import type { Repository } from '../git/repository.ts';
import type { GitService } from '../git/services.ts';
import type { Notice } from '../protocol/runner.ts';
import type { CommitLine, Release, ReleaseRecord, ReleaseSource } from '../releases/release.ts';
import { noCommit } from '../releases/release.ts';
import { describeError, type Log } from '../system/log.ts';
import type { AppRepository } from './app-repository.ts';
import type { DeployEvent } from './events.ts';
import type { GitExchange } from './git-exchange.ts';
import { type PushFacts, type PushPlan, planPush } from './push-plan.ts';
import type { DeploySource, GitCall } from './service.ts';

/** So many refs of a push are logged. */
const loggedRefs = 10;

export interface PushContext {
  app: string;
  place: AppRepository;
  call: GitCall;
  log: Log;
  /** the live release of an environment; null where none is */
  liveRelease(target: Target): Promise<ReleaseRecord | null>;
  deploy(target: Target, source: DeploySource, onEvent: (event: DeployEvent) => void): Promise<Release>;
}

/**
 * Serves a push to its end: git has received it and asks, by its pre-receive hook, whether to accept it. It is accepted
 * when its commit is live; else nothing of it is kept, and the branch stays what is running.
 */
export async function servePush(
  exchange: GitExchange,
  service: GitService,
  request: PushRequest,
  context: PushContext,
): Promise<void> {
  const { place } = context;
  let update: RefUpdate | null = null;
  let accepted = false;
  try {
    update = await answerPush(exchange, service.hook, request, context);
    accepted = true;
    tell(context, request, 'push accepted');
  } catch (error) {
    const why = error instanceof AppError ? { ...error.toJSON() } : { error: describeError(error) };
    tell(context, request, 'push refused', why);
  }
  using _ = await place.refs.take();
  try {
    if (update !== null) await letGitFind(place.repository, update);
  } finally {
    exchange.decide(accepted);
    await service.ended;
  }
}

function tell(
  { log, app, call }: PushContext,
  { updates }: PushRequest,
  what: string,
  why: Record<string, unknown> = {},
): void {
  const refs = updates.slice(0, loggedRefs).map(({ ref }) => ref.slice(0, 200));
  log(what, { app, by: call.by, refs, ...why });
}

/** @returns the change of the branch that was deployed; null where there was nothing to deploy. @throws where it is refused */
async function answerPush(
  { abandoned }: GitExchange,
  hook: HookPort,
  request: PushRequest,
  context: PushContext,
): Promise<RefUpdate | null> {
  const { app, place, call, deploy } = context;
  const repository = place.repository.within(request.quarantine);
  let told = false;
  const show = (event: DeployEvent) => {
    told ||= event.event === 'failed';
    if (event.event === 'log') hook.offer(call.render(event));
    else hook.tell(call.render(event));
  };
  try {
    abandoned.throwIfAborted();
    const plan = await planPush(app, request, factsOf(repository));
    if (plan.action === 'accept') {
      hook.tell(`${plan.note}\n`);
      return null;
    }
    const target = { app, environment: plan.environment };
    const live = await context.liveRelease(target);
    const origin = await originOf(repository, plan, call.by, live);
    const commit = plan.update.new;
    const submodules = await repository.submodules(commit);
    const body = repository.archive(commit);
    const review = async () => whatIsLost(repository, commit, live, await context.liveRelease(target));
    try {
      await deploy(target, { origin, body, contentLength: null, submodules, abandoned, review }, show);
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
 * What is live when the turn of a push has come, where it is not in it: somebody else may have deployed meanwhile, the
 * history may have been rewritten, or what is live was uploaded. The newest wins, but not without a word.
 */
async function whatIsLost(
  repository: Repository,
  commit: string,
  before: ReleaseRecord | null,
  now: ReleaseRecord | null,
): Promise<Notice | null> {
  if (now === null) return null;
  const { commit: its, changedFiles, author, by } = now.source;
  if (its !== null && changedFiles === 0 && (await repository.includes(commit, its))) return null;
  const known = its !== null && (await repository.having([its])).has(its);
  const { count = 0, commits = [] } = known ? await repository.changes(commit, its) : {};
  const first = commits[0] && `: ${commits[0].id.slice(0, 10)} ${commits[0].message}`;
  const what =
    count > 0 ? `${count} commit${count === 1 ? '' : 's'}${first}` : 'what was uploaded from no commit';
  const when = now.number === before?.number ? 'is live' : 'went live meanwhile';
  return {
    code: 'not_in_this_release',
    message: `release ${now.number} of ${author ?? by} ${when}, and has what is not in this one (${what})`,
    hint: 'The newest wins. To have both: fetch from here, merge, and push again.',
  };
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

function factsOf(repository: Repository): PushFacts {
  return {
    has: async (commit) => (await repository.having([commit])).has(commit),
    typeOf: (object) => repository.typeOf(object),
    settingsIn: (commit) =>
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
  live: ReleaseRecord | null,
): Promise<ReleaseSource> {
  const { id, author, message } = await repository.commit(update.new);
  const before = live?.source.commit ?? null;
  const known = before !== null && (await repository.having([before])).has(before);
  const changes = known ? await repository.changes(before, id) : undefined;
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
