import { join, posix } from 'node:path';
import { findMembers, type Member, parentsOf } from '../../config/workspaces.ts';
import { NeedsShell } from './options.ts';
import { type Project, relativeTo } from './project.ts';
import { selectMembers } from './select-members.ts';
import { type CommandSource, type Trail, unsupportedStart } from './trail.ts';

/**
 * Enters the member of a workspace that a command names: the command continues in the directory of the member.
 * @param selectors of members, as the package manager has them; none for all members with the script
 * @param script that the command runs; undefined if it runs a program
 * @throws AppError `unsupported_start` if there is no such member, or several that have the script; `invalid_settings`
 */
export async function enterMember(
  trail: Trail,
  source: CommandSource,
  selectors: string[],
  script: string | undefined,
): Promise<void> {
  const { members, workspace } = await membersAround(trail.project, trail.directory);
  const at = posix.relative(workspace, relativeTo(trail.directory));
  const named =
    selectors.length === 0 ? members : selectors.flatMap((each) => selectMembers(members, each, at));
  const withScript = named.filter(
    ({ manifest }) => script === undefined || manifest.scripts[script] !== undefined,
  );
  const [member, ...others] = new Set(
    withScript.length > 0 ? withScript : selectors.length === 0 ? [] : named,
  );
  if (member === undefined && selectors.length === 0 && members.length === 0)
    throw new NeedsShell('the release has no workspace');
  if (member === undefined) {
    const what = selectors.length === 0 ? `a script "${script}"` : `the name ${selectors.join(', ')}`;
    throw unsupportedStart(source, `no member of the workspace has ${what}`, membersHint(workspace, members));
  }
  if (others.length > 0) {
    const all = [member, ...others];
    throw unsupportedStart(
      source,
      `it starts several members of the workspace: ${all.map(({ name }) => name).join(', ')}`,
      membersHint(workspace, all),
    );
  }
  trail.directory = join(workspace, member.directory);
}

/** Returns the members of the nearest workspace, and its directory, relative to the release. */
export async function membersAround(
  { root }: Pick<Project, 'root'>,
  directory: string,
): Promise<{ members: Member[]; workspace: string }> {
  for (const workspace of parentsOf(relativeTo(directory))) {
    const members = await findMembers(join(root, workspace));
    if (members.length > 0) return { members, workspace };
  }
  return { members: [], workspace: '' };
}

/** Scripts that show that a member serves requests. */
const startScripts = ['start', 'start:prod', 'start:production', 'serve:prod', 'prod', 'serve', 'dev'];

/** Returns the hint that names the directory of a member, the most likely one first. */
export function membersHint(workspace: string, members: Member[]): string {
  const startable = members.filter(({ manifest }) =>
    startScripts.some((name) => manifest.scripts[name] !== undefined),
  );
  const [first, ...others] = (startable.length > 0 ? startable : members).map(({ directory }) =>
    join(workspace, directory),
  );
  if (first === undefined)
    return 'List the members as "workspaces" in package.json, or name a file in sluice.json, as in {"start": "node server.js"}.';
  const more = others
    .slice(0, maxListed)
    .map((directory) => `"${directory}"`)
    .join(', ');
  return `Write {"directory": "${first}"} in sluice.json${more === '' ? '' : `, or another of ${more}`}: its package.json then has the start command.`;
}

/** Limit of the directories that a hint lists. */
const maxListed = 8;
