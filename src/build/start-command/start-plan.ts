import type { AppSettings } from '../../config/app-settings.ts';
import { type Manifest, readManifest } from '../../config/package-manifest.ts';
import { AppError } from '../../errors/app-error.ts';
import type { Notice } from '../../protocol/runner.ts';
import type { BackgroundPlan, ProgramPlan } from '../../releases/release.ts';
import { parseCommand, type StartCommand, unsupportedStart } from './command.ts';
import { resolveFile, resolveProgram, staysInside } from './program.ts';

/** How an app is started, and how that was found out. */
interface StartPlan extends ProgramPlan {
  /** which rule found it, for the log, such as `"start" in package.json` */
  from: string;
  notices: Notice[];
}

/** What is looked for when nobody says how to start. */
const conventional = ['server.js', 'index.js'];

/**
 * How to start the app in `directory`, which is installed and built: `start` of the settings, `start` of package.json's
 * scripts, its `main`, `server.js`, `index.js`; the first that is there.
 * @throws AppError `nothing_to_run`, `unsupported_start`, `invalid_settings`
 */
export async function resolveStart(directory: string, settings: AppSettings): Promise<StartPlan> {
  const manifest = await readManifest(directory);
  const found = findStart(settings, manifest);
  if (found === undefined) {
    const { script, from } = await findFile(directory, manifest);
    return { script, args: [], nodeArgs: [], env: {}, from, notices: [] };
  }
  const { command, from, notices } = found;
  const script = await resolveProgram(directory, manifest, found);
  const { PORT: port, ...env } = command.env;
  if (port !== undefined) notices.push(portNotice(port, from));
  return { script, args: command.args, nodeArgs: command.nodeArgs, env, from, notices };
}

/** What its settings or its package.json say about how it starts; undefined where they say nothing. */
export function findStart(settings: AppSettings, manifest: Manifest | undefined): FoundCommand | undefined {
  if (settings.start !== undefined) return follow(settings.start, 'the setting "start"', manifest);
  const script = manifest?.scripts['start'];
  if (script === undefined) return undefined;
  const found = follow(script, '"start" in package.json', manifest, ['start']);
  return productionStart(found, manifest) ?? found;
}

/**
 * Returns the start command of a new Nest app; undefined for any other app. Its `start` is `nest start`, which compiles the
 * app and then runs it in a process of its own. Its `start:prod` runs the files that the build has compiled.
 */
function productionStart(
  { command }: FoundCommand,
  manifest: Manifest | undefined,
): FoundCommand | undefined {
  const script = manifest?.scripts['start:prod'];
  const { kind, name } = command.program;
  if (script === undefined || kind !== 'bin' || name !== 'nest') return undefined;
  const found = follow(script, '"start:prod" in package.json', manifest, ['start:prod']);
  return { ...found, notices: [...found.notices, productionNotice] };
}

const productionNotice: Notice = {
  code: 'start_prod_taken',
  message: '"start:prod" in package.json starts the app: "start" runs the command line of Nest',
  hint: 'To start the app in another way, set "start" in sluice.json.',
};

function portNotice(port: string, from: string): Notice {
  return {
    code: 'start_port_ignored',
    message: `${from} sets PORT=${port}, which is left out: the app gets its port from Sluice`,
    hint: 'Take PORT out of the command.',
  };
}

/** What runs where nobody says how to start. @throws AppError `nothing_to_run` */
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
    hint: 'Say how the app starts: "start" in the scripts of package.json, such as "node app.js", or a file server.js or index.js. Is the app in a directory below? "root" in sluice.json names it.',
  });
}

function nothingFound(manifest: Manifest | undefined): string {
  const files = conventional.join(', no ');
  if (manifest === undefined) return `there is nothing to run: no package.json, no ${files}`;
  const main = manifest.main === undefined ? 'no "main"' : `no file ${manifest.main} for its "main"`;
  return `there is nothing to run: package.json has no "start" script and ${main}, and there is no ${files}`;
}

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

/**
 * How to start the background processes of the app in `directory`, which is installed and built.
 * @throws AppError `nothing_to_run`, `unsupported_start`, `invalid_settings`
 */
export async function resolveBackground(
  directory: string,
  settings: AppSettings,
): Promise<{ background: BackgroundPlan[]; notices: Notice[] }> {
  const manifest = await readManifest(directory);
  const background: BackgroundPlan[] = [];
  const notices: Notice[] = [];
  for (const { name, count, overlap, found } of backgroundCommands(settings, manifest)) {
    const script = await resolveProgram(directory, manifest, found);
    const { args, nodeArgs, env } = found.command;
    background.push({ name, count, overlap, script, args, nodeArgs, env });
    notices.push(...found.notices);
  }
  return { background, notices };
}

/** What is to run in the background, as far as that is told by names alone. @throws AppError `unsupported_start` */
export function backgroundCommands(
  { processes }: AppSettings,
  manifest: Manifest | undefined,
): { name: string; count: number; overlap: boolean; found: FoundCommand }[] {
  return Object.entries(processes).map(([name, { command, count, overlap }]) => {
    const place = `processes.${name} in sluice.json`;
    const scriptPlace = (script: string) => `${place} (the script "${script}" of package.json)`;
    return { name, count, overlap, found: follow(command, place, manifest, [], scriptPlace) };
  });
}
