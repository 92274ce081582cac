import type { AppSettings } from '../config/app-settings.ts';
import { defaultBuildScripts, type Manifest } from '../config/package-manifest.ts';
import { dependenciesAmong, type Member, parentsOf } from '../config/workspaces.ts';
import { AppError } from '../errors/app-error.ts';

/** Script of package.json that is a part of the build. */
export interface BuildScript {
  name: string;
  /** member of the workspace that has the script; '' for the top */
  member: string;
}

/**
 * Returns the scripts that build an app, in order: that of the top; else those of the member that is the app, after those of the
 * members that the app depends on. Package managers differ in the order and the choice of such members. `heroku-postbuild` of the
 * top or of the app replaces `build`, as on Heroku.
 * @param app directory of the app, relative to the top; '' for the top
 * @param setting name of the script, or false for none
 * @throws AppError `invalid_settings` if the settings name a script that does not exist
 */
export function buildScripts(
  { manifest: top, members, app }: { manifest: Manifest; members: Member[]; app: string },
  setting: AppSettings['build']['command'],
): BuildScript[] {
  if (setting === false) return [];
  const nameIn = ({ scripts }: Manifest) =>
    setting ?? defaultBuildScripts.find((name) => scripts[name] !== undefined) ?? 'build';
  const name = nameIn(top);
  if (top.scripts[name] !== undefined) return [{ name, member: '' }];
  const around = parentsOf(app);
  const own = members.find((member) => around.includes(member.directory));
  if (setting !== undefined && own?.manifest.scripts[name] === undefined) throw noScript(name, top, own);
  if (own === undefined) return [];
  const needed = dependenciesAmong(members, own, 'build');
  return [...needed.map((member) => ({ member, name: 'build' })), { member: own, name: nameIn(own.manifest) }]
    .filter(({ member, name }) => member.manifest.scripts[name] !== undefined)
    .map(({ member, name }) => ({ name, member: member.directory }));
}

function noScript(name: string, top: Manifest, own: Member | undefined): AppError {
  const scripts = Object.keys({ ...top.scripts, ...own?.manifest.scripts });
  return new AppError('invalid_settings', `build.command is "${name}", but package.json has no such script`, {
    hint: `Set the name of a script, not a shell command. Scripts of package.json: ${scripts.join(', ') || 'none'}.`,
  });
}
