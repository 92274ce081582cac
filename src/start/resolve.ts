import { join, normalize, sep } from 'node:path';
import type { AppSettings } from '../config/app-settings.ts';
import { type Manifest, readManifest } from '../config/package-manifest.ts';
import { AppError } from '../errors/app-error.ts';
import type { Notice } from '../protocol/runner.ts';
import { resolveBin } from './bins.ts';
import { parseCommand, type StartCommand, unsupportedStart } from './command.ts';
import { isGoneWhenItRuns } from './dev-programs.ts';
import { isNodeProgram, resolveFile, staysInside } from './files.ts';

/** How an app is started: as `node …nodeArgs script …args` in the directory of the release, with `env` added. */
export interface StartPlan {
  /** relative to the release; a file that is there */
  script: string;
  args: string[];
  nodeArgs: string[];
  /** variables that the start command itself sets; never PORT, which is ours to give */
  env: Record<string, string>;
  /** which rule found it, for the log, such as `"start" in package.json` */
  from: string;
  notices: Notice[];
}

/** Scripts of an app that its install runs: they, too, may make what is started. */
const installHooks = ['preinstall', 'install', 'postinstall', 'prepare'];

/** What is looked for when nobody says how to start. */
const conventional = ['server.js', 'index.js'];

/**
 * Whether there is anything to run at all, as far as that can be told before the install and the build: a file of
 * `dist/` or a package's program may not be there yet. Where nothing is built, a file that is missing stays so.
 * @throws AppError `nothing_to_run`, `unsupported_start`, `invalid_settings`
 */
export async function checkStart(directory: string, settings: AppSettings): Promise<void> {
  const manifest = await readManifest(directory);
  if (manifest === undefined) {
    await resolveStart(directory, settings);
    return;
  }
  const found = findCommand(settings, manifest);
  if (found?.command.program.kind === 'bin') {
    const { name } = found.command.program;
    if (await isGoneWhenItRuns(directory, manifest, name)) throw withoutProgram(found, name);
  } else if (!mayBeBuilt(settings, manifest)) {
    if (found === undefined) await findFile(directory, manifest);
    else if (!mayBeInstalled(found.command.program.name)) await findProgram(directory, manifest, found);
  }
}

/**
 * How to start the app in `directory`, which is installed and built: `start` of the settings, `start` of package.json's
 * scripts, its `main`, `server.js`, `index.js`; the first that is there.
 * @throws AppError `nothing_to_run`, `unsupported_start`, `invalid_settings`
 */
export async function resolveStart(directory: string, settings: AppSettings): Promise<StartPlan> {
  const manifest = await readManifest(directory);
  const found = findCommand(settings, manifest);
  if (found === undefined) {
    const { script, from } = await findFile(directory, manifest);
    return { script, args: [], nodeArgs: [], env: {}, from, notices: [] };
  }
  const { command, text, from, notices } = found;
  const script = await findProgram(directory, manifest, found);
  // What Node.js is told to run it runs, whatever it is called; `bin/www` is well known.
  if (command.program.kind !== 'file' && !(await isNodeProgram(join(directory, script)))) {
    throw unsupportedStart(text, from, `${script} is no JavaScript program`);
  }
  const { PORT: port, ...env } = command.env;
  if (port !== undefined) notices.push(portNotice(port, from));
  return { script, args: command.args, nodeArgs: command.nodeArgs, env, from, notices };
}

interface FoundCommand {
  command: StartCommand;
  /** as written */
  text: string;
  from: string;
  notices: Notice[];
}

function findCommand(settings: AppSettings, manifest: Manifest | undefined): FoundCommand | undefined {
  if (settings.start !== undefined) return follow(settings.start, 'the setting "start"', manifest, []);
  const script = manifest?.scripts['start'];
  return script === undefined ? undefined : follow(script, '"start" in package.json', manifest, ['start']);
}

/** A command may name another script, as `npm start` does; `seen` are those on the way to it. */
function follow(text: string, from: string, manifest: Manifest | undefined, seen: string[]): FoundCommand {
  const command = parseCommand(text, from);
  const notices = hookNotices(seen.at(-1), manifest);
  if (command.program.kind !== 'script') return { command, text, from, notices };
  const { name } = command.program;
  const next = manifest?.scripts[name];
  if (next === undefined) throw unsupportedStart(text, from, `package.json has no script "${name}"`);
  if (seen.includes(name)) throw unsupportedStart(text, from, `the script "${name}" leads back to itself`);
  const found = follow(next, `"${name}" in package.json`, manifest, [...seen, name]);
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

function portNotice(port: string, from: string): Notice {
  return {
    code: 'start_port_ignored',
    message: `${from} sets PORT=${port}, which is left out: the app gets its port from Sluice`,
    hint: 'Take PORT out of the command.',
  };
}

async function findProgram(
  directory: string,
  manifest: Manifest | undefined,
  found: FoundCommand,
): Promise<string> {
  const { command, text, from } = found;
  const { kind, name } = command.program;
  if (kind === 'file' || kind === 'executable') {
    if (!staysInside(name)) throw unsupportedStart(text, from, `${name} lies outside the release`);
    const file = await resolveFile(directory, name);
    if (file !== undefined) return file;
    throw new AppError('nothing_to_run', `${from} runs ${name}, which is not there`, {
      hint: 'Does the build make it, and at this place? Was it left out of the upload, by .gitignore perhaps?',
    });
  }
  const file = manifest === undefined ? undefined : await resolveBin(directory, manifest, name);
  if (file !== undefined) return file;
  throw withoutProgram(found, name);
}

function withoutProgram({ text, from }: FoundCommand, name: string): AppError {
  return unsupportedStart(
    text,
    from,
    `no package in dependencies brings a program "${name}"`,
    `Add the package of ${name} to dependencies (devDependencies are gone when the app runs), or start a file: \`node server.js\`.`,
  );
}

async function findFile(
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

function mayBeBuilt(settings: AppSettings, manifest: Manifest): boolean {
  const script = settings.build.command ?? 'build';
  const scripts = [...installHooks, ...(script === false ? [] : [script])];
  return manifest.workspaces !== undefined || scripts.some((name) => manifest.scripts[name] !== undefined);
}

/** What an install puts there. */
function mayBeInstalled(file: string): boolean {
  return normalize(file).split(sep).includes('node_modules');
}
