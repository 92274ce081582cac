import type { AppRepository } from '../apps/app-repository.ts';
import type { EnvironmentId } from '../config/paths.ts';
import type { DeploySource } from '../deploy/deploy.ts';
import type { DeployEvent } from '../deploy/events.ts';
import { AppError, errorBody } from '../errors/app-error.ts';
import type { HookPort, PushRequest } from '../git/hook.ts';
import { collide, heads, isNone, type RefUpdate } from '../git/refs.ts';
import type { Repository } from '../git/repository.ts';
import type { GitService, ServiceMode, ServiceName } from '../git/service.ts';
import type { Release, ReleaseRecord } from '../releases/release.ts';
import { type Log, levelOf } from '../system/log/log.ts';
import type { LogLevel } from '../system/log/log-level.ts';
import { factsOf, notInThisRelease, originOf } from './commit.ts';
import { planPush } from './plan.ts';
import type { GitExchange } from './session.ts';

/** So many refs of a push are logged. */
const loggedRefs = 10;

/** A client of git that asks for something, as git itself names it. */
export interface GitCall {
  service: ServiceName;
  mode: ServiceMode;
  /** the version of git's protocol that the client asks for, such as `version=2`; may be anything that it has sent */
  protocol: string;
  /** who pushes, for the history */
  by: string;
  /** what a pusher is told before anything else; null where there is nothing such */
  warning: string | null;
  /** how the pusher is shown what happens */
  render: (event: DeployEvent) => string;
}

/** Deploys to an environment, which is created on first use. @throws AppError of the step that failed */
export type Deploy = (
  id: EnvironmentId,
  source: DeploySource,
  onEvent: (event: DeployEvent) => void,
) => Promise<Release>;

interface PushContext {
  app: string;
  place: AppRepository;
  call: GitCall;
  log: Log;
  /** the live release of an environment; null where none is */
  liveRelease(target: EnvironmentId): Promise<ReleaseRecord | null>;
  deploy: Deploy;
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
    tell(context, request, 'info', 'push accepted');
  } catch (error) {
    const why = error instanceof AppError ? { ...error.toJSON() } : { error };
    tell(context, request, levelOf(error), 'push refused', why);
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
  level: LogLevel,
  what: string,
  why: Record<string, unknown> = {},
): void {
  const refs = updates.slice(0, loggedRefs).map(({ ref }) => ref.slice(0, 200));
  log[level](what, { app, by: call.by, refs, ...why });
}

/** @returns the change of the branch that was deployed; null where there was nothing to deploy. @throws where it is refused */
async function answerPush(
  { abandoned }: GitExchange,
  hook: HookPort,
  request: PushRequest,
  context: PushContext,
): Promise<RefUpdate | null> {
  const { app, place, call, deploy } = context;
  await using repository = await place.repository.within(request.quarantine);
  if (call.warning !== null) hook.tell(call.warning);
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
    const origin = await originOf(repository, plan, call.by, live?.source.commit ?? null);
    const commit = plan.update.new;
    const submodules = await repository.submodules(commit);
    const body = repository.archive(commit);
    const review = async () => notInThisRelease(repository, commit, live, await context.liveRelease(target));
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
 * Puts the branches to where git can change this one: to where it was when this push began, since another push may have
 * moved it meanwhile, and with none in its way. From now on until git has ended nobody else moves them.
 */
async function letGitFind(repository: Repository, { ref, old }: RefUpdate): Promise<void> {
  const there = await repository.refs(heads);
  const expected = isNone(old) ? undefined : old;
  const changes = new Map<string, string | null>();
  for (const other of there.keys()) if (collide(other, ref)) changes.set(other, null);
  if (there.get(ref) !== expected) changes.set(ref, expected ?? null);
  await repository.updateRefs(changes);
}
