import { join } from 'node:path';
import type { AppSettings } from '../../config/app-settings.ts';
import { readManifest } from '../../config/package-manifest.ts';
import { findModuleState } from './module-state.ts';
import { keepingClasses, madeWhileLoading } from './object-state.ts';
import { routeFiles } from './route-files.ts';
import { filesOf, importedSources } from './sources.ts';

/** Files that start an app without a word in package.json, and sources of a file that the build writes. */
const usualEntries = ['server', 'index', 'app', 'main', 'src/server', 'src/index', 'src/app', 'src/main'];

/** Code that works only with one process. `because` is the clause that follows the path of the file. */
const onlyOneProcess: { code: RegExp; because: string }[] = [
  {
    code: /\b(?:from|require\(|import\()\s*['"]node:sqlite['"]/,
    because: 'uses node:sqlite, an embedded database',
  },
  {
    code: /\b(?:net|tls|dgram)\.create(?:Server|Socket)\(/,
    because: 'opens another port, and other workers do not see the clients of this port',
  },
];

/**
 * Returns a clause that names a file which works only with one process, such as a file that keeps data in memory; undefined if
 * there is none. Searches the files that the entry imports and those that a framework runs for requests. Takes some milliseconds,
 * whatever the app contains.
 * @param files files that may start the app, relative to `directory`
 * @throws AppError `invalid_settings`
 */
export async function stateInSources(
  directory: string,
  settings: Pick<AppSettings, 'start'>,
  files: string[],
): Promise<string | undefined> {
  const manifest = await readManifest(directory);
  const command = settings.start ?? manifest?.scripts['start'] ?? '';
  const named = command
    .split(/\s+/)
    .filter((word) => /\.[cm]?[jt]s$/.test(word))
    .slice(0, 5);
  // The build writes dist/main.js from src/main.ts.
  const started = [...files, ...named, manifest?.main ?? ''];
  const built = started.map((path) => path.replace(/^(?:\.\/)?(?:dist|build|lib|out)\//, 'src/'));
  const entries = [...started, ...built, ...usualEntries]
    .filter((path) => path !== '')
    .flatMap((path) => filesOf(join(path)));
  const routes = routeFiles(directory, manifest).map((path) => [path]);
  const keeping = new Map<string, string>();
  const made = new Set<string>();
  for (const { path, text } of importedSources(directory, [entries, ...routes])) {
    const known = onlyOneProcess.find(({ code }) => code.test(text));
    if (known !== undefined) return `${path} ${known.because}`;
    const variable = findModuleState(text);
    if (variable !== undefined) return keepsData(path, `the variable "${variable}"`);
    for (const { name, field } of keepingClasses({ path, text }))
      keeping.set(name, keepsData(path, `"this.${field}"`));
    for (const name of madeWhileLoading(text)) made.add(name);
  }
  return [...keeping].find(([name]) => made.has(name))?.[1];
}

function keepsData(path: string, where: string): string {
  return `${path} keeps data in ${where}, which other workers do not see`;
}
