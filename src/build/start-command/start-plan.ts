import type { AppSettings } from '../../config/app-settings.ts';
import { type Manifest, readManifest } from '../../config/package-manifest.ts';
import { AppError } from '../../errors/app-error.ts';
import type { Notice } from '../../protocol/runner.ts';
import type { BackgroundPlan, ProgramPlan } from '../../releases/release.ts';
import { parseCommand, type StartCommand, unsupportedStart } from './command.ts';
import { resolveFile, resolveProgram, staysInside } from './program.ts';

/** Start of an app, and the rule that found it. */
interface StartPlan extends ProgramPlan {
  /** source of the command, for the log, such as `"start" in package.json` */
  from: string;
  notices: Notice[];
}

/** A command that names a file or a program, and notices about what Sluice ignores. */
type FoundCommand = StartCommand & { notices: Notice[] };

/** Files that Sluice starts if nothing else names the start. */
const conventional = ['server.js', 'index.js'];

/**
 * Returns the start of the app in `directory`, which is installed and built. The first of these wins: `start` of the settings,
 * the `start` script and `main` of package.json, `server.js`, `index.js`.
 * @throws AppError `nothing_to_run`, `unsupported_start`, `invalid_settings`
 */
export async function resolveStart(directory: string, settings: AppSettings): Promise<StartPlan> {
  const manifest = await readManifest(directory);
  const found = findStart(settings, manifest);
  if (found === undefined) {
    const { script, from } = await findFile(directory, manifest);
    return { script, args: [], nodeArgs: [], env: {}, from, notices: [] };
  }
  const { args, nodeArgs, from, notices } = found;
  const script = await resolveProgram(directory, manifest, found);
  const { PORT: port, ...env } = found.env;
  if (port !== undefined) {
    notices.push({
      code: 'start_port_ignored',
      message: `Sluice ignores PORT=${port} of ${from}, because Sluice assigns the port`,
      hint: 'Remove PORT from the command.',
    });
  }
  return { script, args, nodeArgs, env, from, notices };
}

/**
 * Returns the start of each background process of the app in `directory`, which is installed and built.
 * @throws AppError `nothing_to_run`, `unsupported_start`, `invalid_settings`
 */
export async function resolveBackground(
  directory: string,
  settings: AppSettings,
): Promise<{ background: BackgroundPlan[]; notices: Notice[] }> {
  const manifest = await readManifest(directory);
  const background: BackgroundPlan[] = [];
  const notices: Notice[] = [];
  for (const { name, count, overlap, command } of backgroundCommands(settings, manifest)) {
    const script = await resolveProgram(directory, manifest, command);
    const { args, nodeArgs, env } = command;
    background.push({ name, count, overlap, script, args, nodeArgs, env });
    notices.push(...command.notices);
  }
  return { background, notices };
}

/** Returns the commands of background processes; reads no files. @throws AppError `unsupported_start` */
export function backgroundCommands(
  { processes }: AppSettings,
  manifest: Manifest | undefined,
): { name: string; count: number; overlap: boolean; command: FoundCommand }[] {
  return Object.entries(processes).map(([name, { command: text, count, overlap }]) => {
    const from = `processes.${name} in sluice.json`;
    const fromScript = (script: string) => `${from} (the script "${script}" of package.json)`;
    return { name, count, overlap, command: follow(text, from, manifest, [], fromScript) };
  });
}

/** Returns the start command in the settings or in package.json; undefined if there is none. */
export function findStart(settings: AppSettings, manifest: Manifest | undefined): FoundCommand | undefined {
  if (settings.start !== undefined) return follow(settings.start, 'the setting "start"', manifest);
  const script = manifest?.scripts['start'];
  if (script === undefined) return undefined;
  const found = follow(script, '"start" in package.json', manifest, ['start']);
  return productionStart(found, manifest) ?? found;
}

/**
 * Returns the start command of a new Nest app; undefined for any other app. Its `start` is `nest start`, which compiles the
 * app and then runs it in another process. Its `start:prod` runs the files that the build has compiled.
 */
function productionStart(
  { program: { kind, name } }: FoundCommand,
  manifest: Manifest | undefined,
): FoundCommand | undefined {
  const script = manifest?.scripts['start:prod'];
  if (script === undefined || kind !== 'bin' || name !== 'nest') return undefined;
  const found = follow(script, '"start:prod" in package.json', manifest, ['start:prod']);
  const notice: Notice = {
    code: 'start_prod_taken',
    message: '"start:prod" in package.json starts the app: "start" runs the command line of Nest',
    hint: 'To start the app with another command, set "start" in sluice.json.',
  };
  return { ...found, notices: [...found.notices, notice] };
}

/**
 * Follows a command through the scripts of package.json that it names, as `npm start` does.
 * @param from source of the command, for messages
 * @param scripts names of the scripts that Sluice has followed
 * @param fromScript returns the name of a script, for messages
 * @throws AppError `unsupported_start`
 */
function follow(
  text: string,
  from: string,
  manifest: Manifest | undefined,
  scripts: string[] = [],
  fromScript = (script: string) => `"${script}" in package.json`,
): FoundCommand {
  const command = parseCommand(text, from);
  const notices = hookNotices(scripts.at(-1), manifest);
  if (command.program.kind !== 'script') return { ...command, notices };
  const { name } = command.program;
  const next = manifest?.scripts[name];
  if (next === undefined) throw unsupportedStart(command, `package.json has no script "${name}"`);
  if (scripts.includes(name)) throw unsupportedStart(command, `the script "${name}" runs itself`);
  const found = follow(next, fromScript(name), manifest, [...scripts, name], fromScript);
  return {
    ...found,
    env: { ...command.env, ...found.env },
    args: [...found.args, ...command.args],
    notices: [...notices, ...found.notices],
  };
}

function hookNotices(script: string | undefined, manifest: Manifest | undefined): Notice[] {
  return [`pre${script}`, `post${script}`]
    .filter((hook) => script !== undefined && manifest?.scripts[hook] !== undefined)
    .map((hook) => ({
      code: 'start_hook_ignored',
      message: `Sluice does not run "${hook}" in package.json, because it starts the app without npm`,
      hint: 'Move steps that must precede the start to the "build" script.',
    }));
}

/** Returns the file to start if no command names one. @throws AppError `nothing_to_run` */
export async function findFile(
  directory: string,
  manifest: Manifest | undefined,
): Promise<{ script: string; from: string }> {
  const main = manifest?.main;
  if (main !== undefined && staysInside(main)) {
    const script = await resolveFile(directory, main);
    if (script !== undefined) return { script, from: '"main" in package.json' };
  }
  for (const name of conventional) {
    if ((await resolveFile(directory, name)) === name) return { script: name, from: name };
  }
  throw new AppError('nothing_to_run', nothingFound(manifest), {
    hint: 'Add a "start" script such as "node app.js" to package.json, or a file server.js or index.js. If the app is in a subdirectory, name it as "root" in sluice.json.',
  });
}

function nothingFound(manifest: Manifest | undefined): string {
  const files = conventional.join(', no ');
  if (manifest === undefined) return `there is nothing to run: no package.json, no ${files}`;
  const main = manifest.main === undefined ? 'no "main"' : `no file ${manifest.main} for its "main"`;
  return `there is nothing to run: package.json has no "start" script and ${main}, and there is no ${files}`;
}
