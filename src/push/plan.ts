import type { AppSettings } from '../config/app-settings.ts';
import { defaultEnvironment, isName } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';
import type { PushRequest } from '../git/hook.ts';
import { heads, isNone, type RefUpdate, tags } from '../git/refs.ts';
import type { Repository } from '../git/repository.ts';
import { listSome } from '../system/text/format.ts';

/** Outcome of a plan: a commit to deploy, or a note that says why nothing is deployed. */
export type PushPlan =
  | { action: 'deploy'; environment: string; branch: string; update: RefUpdate }
  | { action: 'accept'; note: string };

/** Branches that deploy into production by default. */
const productionBranches = ['main', 'master'];

/** Limit of the branches that a message names. */
const maxNamed = 5;

const oneByOne = 'Push one branch at a time, by name: git push deploy main';

/**
 * Decides what a push does, before git changes anything. One branch is deployed; other refs are harmless, or the push is refused.
 * Refuses whatever git would refuse later, since the release is live by then.
 * @param settingsIn returns the settings of the app in a commit
 * @throws AppError `push_refused`, `invalid_settings`
 */
export async function planPush(
  app: string,
  { updates, isCut }: Pick<PushRequest, 'updates' | 'isCut'>,
  repository: Pick<Repository, 'has' | 'typeOf'>,
  settingsIn: (commit: string) => Promise<AppSettings>,
): Promise<PushPlan> {
  if (isCut) throw refused(`the push has too many refs: more than ${updates.length}`, oneByOne);
  const stray = updates.find(({ ref }) => !ref.startsWith(heads) && !ref.startsWith(tags));
  if (stray !== undefined)
    throw refused(`${stray.ref} is not a branch`, 'Push a branch: git push deploy main');
  const branches = updates.filter(({ ref }) => ref.startsWith(heads));
  const deleted = branches.find((update) => isNone(update.new));
  if (deleted !== undefined) {
    throw refused(
      `the branch ${nameOf(deleted)} shows what runs and cannot be deleted`,
      `To stop ${app}: sluice stop ${app}. To remove an environment with its data: sluice destroy ${app}@ENVIRONMENT. To remove all of ${app}: sluice destroy ${app}.`,
    );
  }
  const changed = branches.filter((update) => update.new !== update.old);
  const [update, second] = changed;
  if (update === undefined) return planWithoutBranch(app, branches, updates);
  if (second !== undefined) {
    const names = listSome(changed.map(nameOf), maxNamed);
    throw refused(`a push deploys one branch, and this push has ${changed.length}: ${names}`, oneByOne);
  }
  const branch = nameOf(update);
  if (!isNone(update.old) && !(await repository.has(update.old))) {
    throw refused(`on the server, ${branch} is not at ${update.old}`, 'Fetch, then push again.');
  }
  const type = await repository.typeOf(update.new);
  if (type !== 'commit') {
    throw refused(
      `the branch ${branch} would point at a ${type} instead of a commit`,
      `Push the commit: git push deploy 'NAME^{commit}:${update.ref}'`,
    );
  }
  const byEnvironment = branchesByEnvironment(await settingsIn(update.new));
  const [environment] = [...byEnvironment].find(([, names]) => names.includes(branch)) ?? [];
  if (environment === undefined) throw notDeploying(app, branch, byEnvironment);
  return { action: 'deploy', environment, branch, update };
}

/** Accepts deleted tags and unchanged branches. Refuses new tags without a branch, which would only seem to deploy something. */
function planWithoutBranch(app: string, branches: RefUpdate[], updates: RefUpdate[]): PushPlan {
  const [unchanged] = branches;
  if (unchanged !== undefined) {
    const note = `The branch ${nameOf(unchanged)} is unchanged, and nothing is deployed.
To start fresh workers: sluice restart ${app}. To build release N again: sluice deploy --app ${app} --release N.`;
    return { action: 'accept', note };
  }
  if (updates.every((update) => isNone(update.new)))
    return { action: 'accept', note: 'Nothing is deployed.' };
  throw refused(
    'a tag alone deploys nothing',
    "Push a branch, at a tag if you want: git push deploy 'v1.0^{commit}:refs/heads/main'",
  );
}

/** Returns the branches that deploy into each environment. */
function branchesByEnvironment({ branches = {} }: AppSettings): Map<string, string[]> {
  const assigned = Object.values(branches).flat();
  const production = productionBranches.filter((name) => !assigned.includes(name));
  return new Map(Object.entries({ production, ...branches }));
}

function notDeploying(app: string, branch: string, byEnvironment: Map<string, string[]>): AppError {
  const list = [...byEnvironment]
    .filter(([, names]) => names.length > 0)
    .map(([environment, names]) => `${names.join(' or ')} into ${environment}`);
  return refused(
    `the branch ${branch} does not deploy (branches that deploy: ${list.join(', ')})`,
    deployingHint(app, branch, byEnvironment),
  );
}

/** Says how to deploy what was pushed as `branch`. Never suggests production for a branch of another name. */
function deployingHint(app: string, branch: string, byEnvironment: Map<string, string[]>): string {
  const [ofSameName] = byEnvironment.get(branch) ?? [];
  if (ofSameName !== undefined)
    return `The branch ${ofSameName} deploys into ${branch}: git push deploy HEAD:${ofSameName}.`;
  const [production] = byEnvironment.get(defaultEnvironment) ?? [];
  if (productionBranches.includes(branch) && production !== undefined)
    return `Push it as a branch that deploys: git push deploy ${branch}:${production}.`;
  // `git push deploy main:staging` means an environment with the name of the branch.
  const environment = isName(branch) ? branch : 'staging';
  return `Give the branch an environment in sluice.json, commit, and push again: "branches": {"${environment}": "${branch}"}. Or send the directory without git: sluice deploy --app ${app}@${environment}. See docs/git.md.`;
}

function nameOf({ ref }: RefUpdate): string {
  return ref.slice(heads.length);
}

function refused(message: string, hint: string): AppError {
  return new AppError('push_refused', message, { hint });
}
