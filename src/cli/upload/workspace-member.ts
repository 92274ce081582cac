import { join, relative, resolve } from 'node:path';
import { dependenciesAmong, findMembers, workspaceOf } from '../../config/workspaces.ts';
import { UsageError } from '../failure.ts';
import { repositoryAround } from './checkout.ts';

/**
 * Rejects a member of a workspace that depends on other members, which the upload would lack: the install would take packages of
 * the same names from the public registry. Prints a note for any other member, since the lockfile is not in its directory.
 * @param root absolute path of the directory to upload
 * @param note called with a text for the user
 * @throws UsageError; AppError `invalid_settings` if the workspace cannot be read
 */
export async function checkMember(root: string, note: (text: string) => void): Promise<void> {
  const top = repositoryAround(root) ?? resolve('/');
  const below = relative(top, root);
  const found = below === '' ? undefined : await workspaceOf(top, below);
  if (found === undefined) return;
  const workspace = join(top, found);
  const directory = relative(workspace, root);
  const members = await findMembers(workspace);
  const own = members.find((member) => member.directory === directory);
  const [sibling] = own === undefined ? [] : dependenciesAmong(members, own, 'build');
  const remedy = `Deploy the workspace: write {"directory": "${directory}"} in ${join(workspace, 'sluice.json')}, and run \`sluice deploy ${workspace}\`.`;
  if (sibling === undefined) {
    note(`note: ${directory} is a member of a workspace, whose lockfile is not sent. ${remedy}`);
    return;
  }
  throw new UsageError(
    `${directory} is a member of the workspace ${workspace} and depends on ${sibling.name}, another member, which would not be sent`,
    remedy,
  );
}
