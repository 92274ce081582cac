import { posix } from 'node:path';
import type { AppError } from '../../errors/app-error.ts';
import { quote } from '../start-command/quote.ts';
import { type Pm2App, wordsOf } from './options.ts';
import { inRelease, placeOf, type Release } from './places.ts';

/** Command of an app, as a shell reads it, in the directory of the app. */
export interface Command {
  text: string;
  /** version of Node.js that the app asks for */
  node?: string;
  /** phrases about paths that are not those of the file */
  moved: string[];
  /** directory of the app, or of its file */
  directory: string;
}

/** Programs for files that do not name an interpreter, by extension, as PM2 chooses them. */
const interpreters: Record<string, string> = {
  '.sh': 'bash',
  '.py': 'python3',
  '.rb': 'ruby',
  '.php': 'php',
  '.pl': 'perl',
};

/**
 * Returns the command that starts an app as PM2 does.
 * @param invalid returns the error for a reason
 * @throws AppError `invalid_pm2_file`
 */
export async function commandOf(
  { options }: Pm2App,
  release: Release,
  invalid: (why: string, hint?: string) => AppError,
): Promise<Command> {
  const script = textOf(options['script']);
  if (script === undefined) throw invalid('has an app without "script"');
  const cwd = textOf(options['cwd']);
  const directory = cwd === undefined ? { path: release.base } : await placeOf(cwd, 'directory', release);
  if (directory === undefined) throw outside('cwd', cwd ?? '');
  const moved = directory.moved === undefined ? [] : [directory.moved];
  const inDirectory = (text: string) =>
    directory.path === '.' ? text : `cd ${quote(directory.path)} && ${text}`;
  // PM2 passes such a script to a shell.
  const at = { directory: directory.path };
  if (script.includes(' ')) return { text: inDirectory(inRelease(script, release)), moved, ...at };
  const args = wordsOf(options['args']).map((word) => inRelease(word, release));
  const words = (list: string[]) => list.map(quote).join(' ');
  const program = await programOf(script);
  if (program !== undefined) return { text: inDirectory(words([program, ...args])), moved, ...at };
  const file = await fileOf(script, cwd);
  if (file.moved !== undefined) moved.push(file.moved);
  const path = posix.relative(directory.path, file.path) || '.';
  const { name, node } = interpreterOf(options['interpreter'], path);
  const ofNode = name === 'node' && sourceMaps(options) ? ['--enable-source-maps'] : [];
  const before =
    name === undefined
      ? [path.includes('/') ? path : `./${path}`]
      : [name, ...ofNode, ...nodeArgs(options), path];
  const text = inDirectory(words([...before, ...args]));
  return { text, ...(node && { node }), moved, directory: posix.dirname(file.path) };

  /** Returns the name of a program that is no file of the app, such as `npm`; of a package, or of the system. */
  async function programOf(written: string): Promise<string | undefined> {
    const bin = /(?:^|\/)node_modules\/\.bin\/([\w.-]+)$/.exec(written)?.[1];
    if (bin !== undefined && nodeArgs(options).length === 0) return bin;
    if (/^\/.*\/s?bin\/[^/]+$/.test(written) && !/\/node_modules\//.test(written))
      return posix.basename(written);
    if (/[/]/.test(written)) return undefined;
    const path = posix.join(directory?.path ?? release.base, written);
    if ((await release.kindOf(path)) === 'file' || /\.[a-z]+$/.test(written)) return undefined;
    return written;
  }

  /** Returns the file of the app. A path is relative to the directory of the app. */
  async function fileOf(written: string, from: string | undefined) {
    // An absolute script below an absolute directory has its place below the place of that directory.
    const below =
      from?.startsWith('/') && written.startsWith('/') ? posix.relative(from, written) : undefined;
    const path = below === undefined || below.startsWith('..') ? written : below;
    const found = await placeOf(path, 'file', release, directory?.path);
    if (found === undefined) throw outside('script', written);
    return found;
  }

  function outside(option: string, path: string): AppError {
    return invalid(
      `has "${option}": ${JSON.stringify(path)}, which is outside of the release`,
      `Write a path that is relative to the file, such as "./server.js", or name the file with "start" in sluice.json.`,
    );
  }
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value.trim() !== '' ? value : undefined;
}

function nodeArgs(options: Record<string, unknown>): string[] {
  return wordsOf(options['node_args']);
}

function sourceMaps({
  source_map_support: wanted,
  disable_source_map_support: unwanted,
}: Record<string, unknown>) {
  return wanted === true && unwanted !== true;
}

/** Returns the interpreter of a file; without a name if the file runs by itself. */
function interpreterOf(option: unknown, path: string): { name?: string; node?: string } {
  const written = textOf(option);
  if (written === undefined) return { name: interpreters[posix.extname(path)] ?? 'node' };
  if (written === 'none') return {};
  const version =
    /^node@v?(.+)$/.exec(written)?.[1] ?? /\/v?(\d+(?:\.\d+){0,2})\/(?:.*\/)?node$/.exec(written)?.[1];
  if (version !== undefined) return { name: 'node', node: version };
  const name = posix.basename(written);
  if (name === 'node' || name === 'nodejs') return { name: 'node' };
  return { name: written.startsWith('/') || /node_modules\/\.bin\//.test(written) ? name : written };
}
