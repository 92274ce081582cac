import { readdir } from 'node:fs/promises';
import { dirname, relative, resolve, sep } from 'node:path';
import { parseJson } from '../system/fs/files.ts';
import { isMissing, readAppTextIfAny } from '../system/fs/read-file.ts';
import type { Pm2App } from './pm2-apps.ts';

/** Limit of a package.json, in bytes. */
const maxManifest = 1024 ** 2;

/** Directories with the code of an app. */
export interface Project {
  /** directory to upload: the top of the repository, or else `directory`; absolute */
  root: string;
  /** directory with the app's package.json; absolute, in `root` */
  directory: string;
  /** names in `directory` */
  names: string[];
  /** name of the file in `directory` from which PM2 or Sluice takes the settings of an app; undefined if there is none */
  settingsFile: string | undefined;
  /** true if the top of the repository has a sluice.json */
  hasSettings: boolean;
  /** true if a file says which Node.js the app needs */
  saysNode: boolean;
}

const nodeFiles = new Set(['.nvmrc', '.node-version', '.tool-versions']);
const pm2Files = /^(?:ecosystem|process|pm2)(?:\.config)?\.(?:[cm]?js|ts|json|ya?ml)$/;

/**
 * Finds the directories of an app: where the script is, or for a program of the system such as npm, the working directory.
 * @param homes home directories, which no app has for itself
 * @returns undefined if no such directory exists
 */
export async function findProject(app: Pm2App, homes: readonly string[]): Promise<Project | undefined> {
  const { pm_exec_path: script, pm_cwd: cwd } = app;
  const start = resolve(isProgram(script) ? cwd : dirname(script));
  const forbidden = new Set(['/', ...homes.map((home) => resolve(home))]);
  let directory: string | undefined;
  let root: string | undefined;
  for (let at = start; !forbidden.has(at); at = dirname(at)) {
    const names = await namesIn(at);
    if (names.includes('package.json')) directory ??= at;
    if (names.includes('.git')) root ??= at;
    if (root !== undefined) break;
  }
  if (forbidden.has(start) && directory === undefined) return undefined;
  const found = directory ?? root ?? start;
  const names = await namesIn(found);
  if (names.length === 0) return undefined;
  const top = root ?? found;
  const hasSettings = (top === found ? names : await namesIn(top)).includes('sluice.json');
  const saysNode = names.some((name) => nodeFiles.has(name)) || (await hasEngines(found));
  return {
    ...{ root: top, directory: found, names, hasSettings, saysNode },
    settingsFile: names.includes('sluice.json') ? 'sluice.json' : names.find((name) => pm2Files.test(name)),
  };
}

/** Returns true if package.json has a version of Node.js. A package.json that cannot be read fails the deploy. */
async function hasEngines(directory: string): Promise<boolean> {
  const text = await readAppTextIfAny(directory, 'package.json', maxManifest);
  try {
    const manifest = parseJson(text ?? '{}') as { engines?: { node?: unknown }; volta?: { node?: unknown } };
    return typeof (manifest?.engines?.node ?? manifest?.volta?.node) === 'string';
  } catch {
    return false;
  }
}

/** Returns true for a program of the system or of a package, which no app has in its own directory. */
export function isProgram(script: string): boolean {
  return (
    /^\/(?:usr|bin|sbin|opt\/node|snap)\//.test(script) ||
    /\/(?:node_modules|\.nvm|\.volta|\.bun|\.local\/share)\//.test(script)
  );
}

/** Returns a path relative to a directory; undefined if it is outside. `.` is the directory itself. */
export function within(directory: string, path: string): string | undefined {
  const below = relative(directory, path);
  if (below === '') return '.';
  return below === '..' || below.startsWith(`..${sep}`) ? undefined : below;
}

async function namesIn(directory: string): Promise<string[]> {
  return readdir(directory).catch((error: unknown) => {
    if (!isMissing(error)) throw error;
    return [];
  });
}
