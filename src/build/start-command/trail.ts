import { join, normalize } from 'node:path';
import { AppError } from '../../errors/app-error.ts';
import type { Notice } from '../../protocol/runner.ts';
import type { Word } from '../../releases/words.ts';
import { type Project, readEnvFile, staysInside } from './project.ts';
import type { Step } from './steps.ts';

/** Text of a command, and its source for messages, such as `"start" in package.json`. */
export interface CommandSource {
  text: string;
  from: string;
}

/** Processes that a command such as `nf start` starts. */
export interface StartedProcesses {
  /** path of the Procfile, relative to the release */
  file: string;
  /** directory of the command, relative to the release */
  directory: string;
  /** names of all its processes, in their order */
  names: string[];
  /** name of the process that the command comes to */
  chosen: string;
  /** commands that start single processes, by name */
  commands: Record<string, string>;
}

/** Facts that Sluice has gathered while it followed a command through scripts and the programs that Sluice sees through. */
export interface Trail {
  project: Project;
  /** names a script of package.json in messages */
  fromScript: (script: string) => string;
  /** working directory, relative to the release */
  directory: string;
  env: Record<string, Word>;
  /** variables of env files; those of the app take precedence */
  defaults: Record<string, string>;
  /** values in `env` that are of env files */
  secrets: string[];
  /** commands that precede the start */
  steps: Step[];
  /** names of packages and programs that the app needs when it runs */
  keep: Set<string>;
  notices: Notice[];
  /** development command that Sluice has seen through, such as `nodemon server.js`; null if there is none */
  development: string | null;
  /** true if the development command only watches files, and Sluice starts what it would start */
  isWatched: boolean;
  /** scripts that Sluice has followed, each with its directory */
  scripts: string[];
  /** true if the command may run a program that is not for Node.js */
  anyProgram: boolean;
  /** options of PM2 in the command, by their names in a file of PM2 */
  pm2?: Record<string, unknown>;
  /** processes of a Procfile that the command starts; undefined for another command */
  procfile?: StartedProcesses;
  /** true if npx or a similar program would download a program that is not installed */
  mayDownload: boolean;
}

/** @param anyProgram see Trail */
export function newTrail(project: Project, fromScript: Trail['fromScript'], anyProgram = false): Trail {
  return {
    ...{ project, fromScript, directory: project.app, env: {}, defaults: {}, secrets: [] },
    ...{ steps: [], keep: new Set(), notices: [], development: null, isWatched: true, scripts: [] },
    ...{ mayDownload: false, anyProgram },
  };
}

/** Returns the error for a command that Sluice cannot run. By default, its hint is to name a file. */
export function unsupportedStart({ text, from }: CommandSource, why: string, hint?: string): AppError {
  return new AppError('unsupported_start', `${from} is \`${text}\`: ${why}`, {
    hint: hint ?? 'Name the file of the app in sluice.json, as in {"start": "node server.js"}.',
  });
}

/** Adds a notice, once. */
export function addNotice({ notices }: Pick<Trail, 'notices'>, notice: Notice): void {
  if (!notices.some(({ message }) => message === notice.message)) notices.push(notice);
}

/** Changes the working directory, as `cd` does. @throws AppError `unsupported_start` if it is outside the release */
export function changeDirectory(trail: Trail, path: string, source: CommandSource): void {
  const directory = normalize(join(trail.directory, path)).replace(/\/$/, '');
  if (path.startsWith('/') || !staysInside(directory)) {
    throw unsupportedStart(source, `${path} is outside the release`);
  }
  trail.directory = directory;
}

/**
 * Adds the variables of env files, the one with precedence first. If none exists, a notice reports that: its variables are often secret, so that the file is
 * not in the repository.
 * @param tool program that reads the files
 * @param overrides true if the files take precedence over the variables of the app
 */
export async function addEnvFiles(
  trail: Trail,
  tool: string,
  paths: string[],
  overrides: boolean,
): Promise<void> {
  if (paths.length === 0) return;
  const read = await Promise.all(
    paths.map((path) => readEnvFile(trail.project, join(trail.directory, path))),
  );
  if (read.every((variables) => variables === undefined)) {
    const [path = '.env'] = paths.slice(-1);
    addNotice(trail, {
      code: 'env_file_missing',
      message: `${tool} would read ${join(trail.directory, path)}, which is not in the release`,
      hint: `Set its variables on the server: \`sluice env set APP --file ${path}\`.`,
    });
  }
  for (const variables of read) {
    for (const [variable, value] of Object.entries(variables ?? {})) {
      if (variable === 'PORT') continue;
      if (overrides) setSecret(trail, variable, value);
      else if (trail.env[variable] === undefined) trail.defaults[variable] ??= value;
    }
  }
}

/** Sets a variable to a value of an env file. */
export function setSecret({ env, secrets }: Trail, variable: string, value: string): void {
  env[variable] = value;
  secrets.push(value);
}

/** Adds a notice that Sluice does the work of a process manager itself. */
export function seesThrough(trail: Trail, tool: string): void {
  addNotice(trail, {
    code: 'start_tool_skipped',
    message: `Sluice starts the app without ${tool}, because Sluice restarts and logs the app itself`,
    hint: 'Set the number of processes with "workers" in sluice.json.',
  });
}
