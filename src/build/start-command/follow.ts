import type { Manifest } from '../../config/package-manifest.ts';
import type { Notice } from '../../protocol/runner.ts';
import { parseCommand, type StartCommand, unsupportedStart } from './command.ts';

/** A command that names a file or a program, after the scripts that led to it. */
export interface FoundCommand {
  command: StartCommand;
  /** as written, and where: in the script that names the file, where one led there */
  text: string;
  from: string;
  notices: Notice[];
}

/**
 * Follows a command through the scripts of package.json that it names, as `npm start` does.
 * @param from where it stands, for messages
 * @param seen the scripts on the way to it
 * @param scriptPlace how messages call a script that it leads to
 * @throws AppError `unsupported_start`
 */
export function follow(
  text: string,
  from: string,
  manifest: Manifest | undefined,
  seen: string[] = [],
  scriptPlace = (script: string) => `"${script}" in package.json`,
): FoundCommand {
  const command = parseCommand(text, from);
  const notices = hookNotices(seen.at(-1), manifest);
  if (command.program.kind !== 'script') return { command, text, from, notices };
  const { name } = command.program;
  const next = manifest?.scripts[name];
  if (next === undefined) throw unsupportedStart(text, from, `package.json has no script "${name}"`);
  if (seen.includes(name)) throw unsupportedStart(text, from, `the script "${name}" leads back to itself`);
  const found = follow(next, scriptPlace(name), manifest, [...seen, name], scriptPlace);
  return {
    ...found,
    command: {
      ...found.command,
      env: { ...command.env, ...found.command.env },
      args: [...found.command.args, ...command.args],
    },
    notices: [...notices, ...found.notices],
  };
}

function hookNotices(script: string | undefined, manifest: Manifest | undefined): Notice[] {
  return [`pre${script}`, `post${script}`]
    .filter((hook) => script !== undefined && manifest?.scripts[hook] !== undefined)
    .map((hook) => ({
      code: 'start_hook_ignored',
      message: `"${hook}" in package.json is not run: the app is started without npm`,
      hint: 'What must happen before a release starts belongs in its "build" script.',
    }));
}
