import type { AppSettings } from '../config/app-settings.ts';
import { AppError } from '../errors/app-error.ts';
import type { PushRequest } from '../git/hook.ts';
import { heads, isNone, type RefUpdate, tags } from '../git/refs.ts';
import { listSome } from '../system/text/format.ts';

/** What a push comes to: a commit to deploy, or nothing at all, with what to say of that. */
export type PushPlan =
  | { action: 'deploy'; environment: string; branch: string; update: RefUpdate }
  | { action: 'accept'; note: string };

/** What must be asked of the repository about a commit. */
export interface PushFacts {
  has(commit: string): Promise<boolean>;
  /** `commit`, `tag`, `tree` or `blob` */
  typeOf(object: string): Promise<string>;
  /** what the app says about itself in a commit */
  settingsIn(commit: string): Promise<AppSettings>;
}

const ofProduction = ['main', 'master'];

/** So many branches are named. */
const named = 5;

/**
 * Decides what a push is to do, before git changes anything: one branch is deployed, and all else either does no harm
 * or is refused. Whatever git itself would refuse later, when the release is live, is refused here.
 * @throws AppError `push_refused`, `invalid_settings`
 */
export async function planPush(
  app: string,
  { updates, isCut }: Pick<PushRequest, 'updates' | 'isCut'>,
  facts: PushFacts,
): Promise<PushPlan> {
  if (isCut) throw refused(`a push of ${updates.length} refs and more is too much`, onlyOne);
  const stray = updates.find(({ ref }) => !ref.startsWith(heads) && !ref.startsWith(tags));
  if (stray !== undefined) throw refused(`${stray.ref} is no branch`, 'Push a branch: git push deploy main');
  const branches = updates.filter(({ ref }) => ref.startsWith(heads));
  const deleted = branches.find((update) => isNone(update.new));
  if (deleted !== undefined) {
    throw refused(
      `${branchOf(deleted)} says what runs, and cannot be deleted`,
      `To stop ${app}: sluice stop ${app}. To remove it with all it kept: sluice destroy ${app}.`,
    );
  }
  const changed = branches.filter((update) => update.new !== update.old);
  const [update, second] = changed;
  if (update === undefined) return withoutBranch(app, branches, updates);
  if (second !== undefined) {
    const names = listSome(changed.map(branchOf), named);
    throw refused(`a push deploys one branch, and this one has ${changed.length}: ${names}`, onlyOne);
  }
  if (!isNone(update.old) && !(await facts.has(update.old))) {
    throw refused(`${branchOf(update)} is not at ${update.old} here`, 'Fetch, and push again.');
  }
  const type = await facts.typeOf(update.new);
  if (type !== 'commit') {
    const commit = `git push deploy 'NAME^{commit}:${update.ref}'`;
    throw refused(
      `${branchOf(update)} would point at a ${type}, not at a commit`,
      `Push its commit: ${commit}`,
    );
  }
  const branch = branchOf(update);
  const byEnvironment = deploying(await facts.settingsIn(update.new));
  const [environment] = [...byEnvironment].find(([, names]) => names.includes(branch)) ?? [];
  if (environment === undefined) throw notDeploying(branch, byEnvironment);
  return { action: 'deploy', environment, branch, update };
}

const onlyOne = 'Push them one after the other, each by its name: git push deploy main';

/** Tags may come and go along with a branch; on their own they would only look as if they deployed something. */
function withoutBranch(app: string, branches: RefUpdate[], updates: RefUpdate[]): PushPlan {
  const [unchanged] = branches;
  if (unchanged !== undefined) {
    const again = `\`sluice restart ${app}\` starts fresh workers, \`sluice deploy --app ${app} --release N\` builds release N anew`;
    return {
      action: 'accept',
      note: `${branchOf(unchanged)} is there already, and nothing is deployed: ${again}`,
    };
  }
  if (updates.every((update) => isNone(update.new))) return { action: 'accept', note: 'nothing is deployed' };
  throw refused(
    'a tag alone deploys nothing',
    "Push a branch, at a tag where you want: git push deploy 'v1.0^{commit}:refs/heads/main'",
  );
}

/** Which branches deploy, by environment. */
function deploying({ branches = {} }: AppSettings): Map<string, string[]> {
  const elsewhere = Object.values(branches).flat();
  const production = ofProduction.filter((name) => !elsewhere.includes(name));
  return new Map(Object.entries({ production, ...branches }));
}

function notDeploying(branch: string, byEnvironment: Map<string, string[]>): AppError {
  const list = [...byEnvironment]
    .filter(([, names]) => names.length > 0)
    .map(([environment, names]) => `${names.join(' or ')} into ${environment}`);
  return refused(
    `${branch} does not deploy; those that do: ${list.join(', ')}`,
    `Push it as one of them: git push deploy ${branch}:${byEnvironment.get('production')?.[0] ?? 'main'}. Or give it an environment, in sluice.json: "branches": {"staging": "${branch}"}.`,
  );
}

function branchOf({ ref }: RefUpdate): string {
  return ref.slice(heads.length);
}

function refused(message: string, hint: string): AppError {
  return new AppError('push_refused', message, { hint });
}
