import { join, normalize } from 'node:path';
import type { AppSettings } from '../../config/app-settings.ts';
import { defaultBuildScripts, type Manifest, readManifest } from '../../config/package-manifest.ts';
import { AppError } from '../../errors/app-error.ts';
import { compileScript } from '../compile-script.ts';
import { listens } from '../start-command/listens.ts';
import { importedSources } from '../start-command/sources.ts';
import { directoriesIn, indexName, isFile, textOf } from './files.ts';
import {
  clientPackages,
  fileServers,
  type StaticTool,
  serverPackages,
  staticTools,
  usualOutputs,
} from './tools.ts';

/** Static site as known before the build: its files may not exist yet. */
export interface StaticSite {
  /** rule that found the site, for the log: a tool such as `Vite`, a setting, or a file */
  from: string;
  /** directories that may have the site, the likeliest first; `*` stands for any name */
  directories: string[];
  /** true if the settings name the directory, which then needs no index.html */
  isNamed: boolean;
  /** true if navigations to paths without a file get index.html */
  spa: boolean;
  /** file of a build that has written a server and no site, and the command that starts this server */
  server?: StaticTool['server'];
  /** script that may build the site, if the build runs none */
  script?: string | undefined;
}

/**
 * Returns the static site that the settings name, or that a known build tool writes if the app has no start command. Files named
 * `server` and packages of servers show that the app is a server. Reads files only.
 */
export async function findStaticSite(
  directory: string,
  manifest: Manifest | undefined,
  settings: AppSettings,
): Promise<StaticSite | undefined> {
  if (settings.start !== undefined) return undefined;
  const tool = manifest && (await findTool(directory, manifest));
  if (settings.static !== undefined) {
    const { directory: name, spa = tool?.spa ?? hasAny(manifest, clientPackages) } = settings.static;
    return { from: 'the setting "static"', directories: [name], isNamed: true, spa };
  }
  if (tool === undefined || (await hasServer(directory, manifest as Manifest, tool))) return undefined;
  const { name: from, directories, spa, server } = tool;
  const script = buildsNothing(settings, manifest as Manifest) ? compileScript(manifest) : undefined;
  return { from, directories, isNamed: false, spa, ...(server && { server }), ...(script && { script }) };
}

function buildsNothing({ build }: AppSettings, { scripts }: Manifest): boolean {
  return build.command === undefined && !defaultBuildScripts.some((name) => Object.hasOwn(scripts, name));
}

/** Returns true if the sources of an app are those of a site, which a build tool reads. */
export async function isSiteSource(directory: string, manifest: Manifest | undefined): Promise<boolean> {
  if (manifest === undefined || hasServerPackage(manifest)) return false;
  return (await findTool(directory, manifest)) !== undefined;
}

/**
 * Returns the site of an app that has nothing else to run. Call it again after a build, which may write the site.
 * @returns undefined if there is no index.html in a usual place now
 */
export async function findPlainSite(
  directory: string,
  manifest: Manifest | undefined,
): Promise<StaticSite | undefined> {
  if (hasServerPackage(manifest)) return undefined;
  const spa = hasAny(manifest, clientPackages);
  // The root of an app with a build has the source of the page.
  const isBuilt = manifest?.scripts['build'] !== undefined;
  for (const place of isBuilt ? [...usualOutputs, publicName, '.'] : ['.', publicName, ...usualOutputs]) {
    const index = join(place, indexName);
    if (!(await isFile(join(directory, index)))) continue;
    // The pages may belong to an app whose server no rule finds.
    if (place === publicName && !isBuilt && (await hasServerInside(directory))) return undefined;
    return { from: index, directories: [place], isNamed: false, spa };
  }
  return undefined;
}

/** Directory of pages that a server in another directory may serve. */
export const publicName = 'public';

/** Returns true if a directory inside an app has its own server. Cloud functions do not count. */
async function hasServerInside(directory: string): Promise<boolean> {
  for (const name of await directoriesIn(directory)) {
    const inside = await readManifest(directory, name).catch((error: unknown) => {
      // A broken package.json there does not belong to the app.
      if (!(error instanceof AppError)) throw error;
      return undefined;
    });
    if (hasServerPackage(inside) && !hasAny(inside, ['firebase-functions'])) return true;
  }
  return false;
}

/** Scripts that start an app in production. */
const startScripts = ['start', 'start:prod', 'start:production', 'serve:prod', 'prod'];
const endings = ['js', 'ts', 'mjs', 'cjs', 'mts', 'cts'].map((type) => `.${type}`);
/** Files that start a server by convention. */
const serverFiles = endings.map((ending) => `server${ending}`);

/** Returns true if an app with a build tool also has a server of its own. */
async function hasServer(directory: string, manifest: Manifest, { servers }: FoundTool): Promise<boolean> {
  const { scripts } = manifest;
  const starts = startScripts.filter((name) => Object.hasOwn(scripts, name));
  if (starts.some((name) => !servesFiles(name, scripts, servers))) return true;
  if (hasServerPackage(manifest)) return true;
  if ((await firstOf(directory, serverFiles)) !== undefined) return true;
  return /^web\s*:/m.test(await textOf(directory, 'Procfile'));
}

/** Returns true if an app depends on a package for servers. */
export function hasServerPackage(manifest: Manifest | undefined): boolean {
  return Object.keys(manifest?.dependencies ?? {}).some((name) => serverPackages.has(name));
}

/** Limits of the search in scripts: their number, length in characters, depth of scripts that run scripts, and number of those that run together. */
const limits = { scripts: 300, length: 4096, depth: 5, together: 8 };

/** Returns true if a script ends with a server of files, such as the one of a build tool for previews, or starts nothing. */
function servesFiles(name: string, scripts: Manifest['scripts'], servers: RegExp, depth = 0): boolean {
  const last = lastCommand(name, scripts, depth);
  const together = /^(?:run-p|npm-run-all (?:-p|--parallel)) ([\w:. -]+)$/.exec(last)?.[1]?.split(' ') ?? [];
  const serves = (script: string) => servesFiles(script, scripts, servers, limits.depth);
  if (together.length > 0 && together.length <= limits.together && depth < limits.depth)
    return together.some(serves) && together.every((script) => serves(script) || isWatcher(scripts[script]));
  const command = last.replace(optionsFirst, '$1');
  return [last, command].some((each) => servers.test(each) || fileServers.test(each) || noStart.test(each));
}

/** Returns the last command of a script, also of the script that it runs. */
function lastCommand(name: string, scripts: Manifest['scripts'], depth = 0): string {
  const last = commandsOf(scripts[name] ?? '').at(-1) ?? '';
  const next = /^(?:npm|pnpm|yarn|bun) (?:run |run-script )?([\w:.-]+)$/.exec(last)?.[1];
  const isFollowed = next !== undefined && Object.hasOwn(scripts, next) && depth < limits.depth;
  return isFollowed ? lastCommand(next, scripts, depth + 1) : last;
}

/** Options between a program and its subcommand, as in `react-scripts --openssl-legacy-provider start`. */
const optionsFirst = /^(\S+)(?: -[\w-]+)+(?= [a-z])/;

/** Commands that start nothing: a script `start` may only say what to run instead. */
const noStart = /^(?:echo|exit|true|false)\b/;

/** Returns true for a script that only writes files when others change. */
function isWatcher(script = ''): boolean {
  const last = commandsOf(script).at(-1) ?? '';
  return /\bwatch\b| -w\b/.test(last) && !/^(?:node|nodemon|tsx|ts-node\S*|nest|bun|deno) /.test(last);
}

/** Returns the commands of a script, without variables and wrappers. */
function commandsOf(script: string): string[] {
  return script
    .slice(0, limits.length)
    .split(/&&|\|\||[;|&\n]/)
    .map((command) => {
      const words = command.split(/\s+/).filter((word) => word !== '');
      let at = 0;
      while (wrapper.test(words[at] ?? '') || (at > 0 && words[at]?.startsWith('-')))
        at += withValue.test(words[at] ?? '') && words[at + 1] !== '--' ? 2 : 1;
      return words.slice(at).join(' ');
    });
}

/** Words before a command: variables, wrappers and their files. */
const wrapper = /^\w+=|^(?:cross-env|env|env-cmd|exec|npx|dotenv|--|(?:\S*\/)?\.env[\w.-]*)$/;

/** Options of wrappers whose value is the next word. */
const withValue = /^(?:-[cefrvp]|--file|--rc-file|--environments|--package)$/;

/** Build tool of an app, with the directories that the app's configuration names. */
type FoundTool = Pick<StaticTool, 'name' | 'servers' | 'directories'> & {
  spa: boolean;
  server: StaticTool['server'];
};

/** Returns the build tool of an app; undefined if there is none, or if the tool writes a server. */
async function findTool(directory: string, manifest: Manifest): Promise<FoundTool | undefined> {
  const tool = staticTools.find(({ packages }) => hasAny(manifest, packages)) ?? toolOfScripts(manifest);
  if (tool === undefined || hasAny(manifest, tool.unless ?? [])) return undefined;
  const build = commandsOf(manifest.scripts['build'] ?? '').join('\n');
  if (tool.script !== undefined && !tool.script.test(build)) return undefined;
  if (tool.option !== undefined && (await matchIn(directory, tool.option)) === undefined) return undefined;
  if (tool.onlyByStart !== undefined && !(await isByStart(directory, manifest, tool))) return undefined;
  const written = tool.output && (await matchIn(directory, tool.output));
  const spa = tool.spa ?? hasAny(manifest, clientPackages);
  const { name, servers, server } = tool;
  return { name, servers, server, spa, directories: [...outputsOf(written?.[1]), ...tool.directories] };
}

/** Returns true if `start` runs the server of a tool, and no other file listens. */
async function isByStart(
  directory: string,
  { scripts, main = '' }: Manifest,
  { servers, onlyByStart }: StaticTool,
): Promise<boolean> {
  const command = lastCommand('start', scripts);
  if (!servers.test(command)) return false;
  // Many a site has such a file for the browser, also as "main".
  const others = [isTaskFile(main) ? '' : main, 'server', 'index', 'app'].flatMap(withEndings);
  for (const name of others)
    if ((await isFile(join(directory, name))) && (await listens({ root: directory }, name))) return false;
  const [, path] = /^node (\S+)/.exec(command) ?? [];
  if (path === undefined) return true;
  for (const { text } of importedSources(directory, [withEndings(path)]))
    if (onlyByStart?.test(text)) return true;
  return false;
}

/** Returns true for the file of a task runner, which `npm init` may have written as "main". It starts no app. */
export function isTaskFile(path: string): boolean {
  return /(?:^|\/)(?:gulpfile|gruntfile)\b/i.test(path);
}

function withEndings(path: string): string[] {
  return path === '' ? [] : [path, ...endings.map((ending) => `${path}${ending}`)];
}

/** Returns the first file that exists. */
async function firstOf(directory: string, names: string[]): Promise<string | undefined> {
  for (const name of names) if (await isFile(join(directory, name))) return name;
  return undefined;
}

/** Returns the tool that a script runs, which may be installed on the machine of the developer. */
function toolOfScripts({ scripts }: Manifest): StaticTool | undefined {
  const commands = Object.values(scripts).slice(0, limits.scripts).flatMap(commandsOf);
  const programs = new Set(commands.map((command) => command.split(' ', 1)[0]));
  return staticTools.find(({ packages }) => packages.some((name) => programs.has(name)));
}

/** Returns the directories that an output of a configuration file may mean; Angular adds `browser`. */
function outputsOf(written: string | undefined): string[] {
  // A path above the tool's own root, as in `root: 'src'` with `outDir: '../dist'`, is inside the release.
  const path = written && normalize(written).replace(/^(?:\.\.\/)+|\/$/g, '');
  return path && !/^(?:\/|\.\.$)/.test(path) ? [join(path, 'browser'), path] : [];
}

function hasAny(manifest: Manifest | undefined, packages: Iterable<string>): boolean {
  const { dependencies, devDependencies } = manifest ?? {};
  const all = { ...dependencies, ...devDependencies };
  return [...packages].some((name) => Object.hasOwn(all, name));
}

/** Lines of comments in JavaScript. No pattern for spaces here may match a line end: the time would grow with the square. */
const comments = /^[ \t]*(?:\/\/|\/?\*).*$/gm;

/** Returns the match in the first file that has one outside of comments. */
async function matchIn(
  directory: string,
  { files, pattern }: { files: string[]; pattern: RegExp },
): Promise<RegExpExecArray | undefined> {
  for (const name of files) {
    const match = pattern.exec((await textOf(directory, name)).replaceAll(comments, ''));
    if (match !== null) return match;
  }
  return undefined;
}
