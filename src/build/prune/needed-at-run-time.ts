import { join } from 'node:path';
import type { AppSettings } from '../../config/app-settings.ts';
import { readManifest } from '../../config/package-manifest.ts';
import { exists } from '../../system/fs/exists.ts';
import type { StartDecision } from '../start-command/start-plan.ts';
import type { PruneRequest } from './dev-packages.ts';
import { loadedPackages } from './loaded-packages.ts';

/** Packages that stay in a release although they may be only in devDependencies. */
type Needed = Pick<PruneRequest, 'programs' | 'packages' | 'prefixes'>;

/** Start of the app, as far as it decides what stays. */
type Started = Pick<StartDecision, 'keep' | 'candidates' | 'background'>;

/** Packages that other packages need at run time without declaring them. */
const companions: { names?: string[]; files?: string[]; packages: string[]; prefixes: string[] }[] = [
  {
    // They compile when the app starts, and check the types.
    names: ['ts-node', 'ts-node-dev', 'ts-node-esm', 'tsnd'],
    packages: ['typescript'],
    prefixes: ['@types/', '@tsconfig/'],
  },
  {
    // They read tsconfig.json, which may extend one of a package.
    names: ['tsx', '@swc-node/register', 'esbuild-register'],
    packages: [],
    prefixes: ['@tsconfig/'],
  },
  {
    // They load the presets and plugins that the configuration names.
    names: ['babel-node', '@babel/node', '@babel/register'],
    packages: [],
    prefixes: ['@babel/', 'babel-'],
  },
  {
    // `next start` reads the configuration with TypeScript, and would install it if it is missing.
    files: ['next.config.ts', 'next.config.mts'],
    packages: ['typescript'],
    prefixes: ['@tsconfig/'],
  },
  {
    // Migrations in a hook.
    names: ['knex'],
    files: ['knexfile.ts'],
    packages: ['ts-node', 'tsx', 'typescript'],
    prefixes: ['@types/', '@tsconfig/'],
  },
];

/** Programs that run scripts of package.json. */
const scriptRunners = new Set('npm pnpm yarn bun npx npm-run-all run-s run-p concurrently turbo'.split(' '));

/**
 * Returns what the commands that run after the build need from devDependencies: the start and background processes with the files
 * that they load, scheduled commands, and the hooks around the switch.
 * @param tree release
 * @param directories of the install, of the app and of all members of a workspace, relative to the tree
 */
export async function neededAtRunTime(
  tree: string,
  directories: string[],
  settings: AppSettings,
  start: Started,
): Promise<Needed> {
  const places = [...new Set(directories)];
  const found = namesIn(shellCommands(settings, start), await scriptsIn(tree, places));
  const programs = [...new Set([...start.keep, ...found.programs])];
  const modules = [...new Set([...start.keep, ...found.modules])];
  const named = [...programs, ...modules];
  const packages = [...modules, ...(await loadedPackages(tree, start))];
  const prefixes: string[] = [];
  for (const { names, files = [], ...needed } of companions) {
    const isNamed = names === undefined || names.some((name) => named.includes(name));
    const paths = places.flatMap((each) => files.map((name) => join(tree, each, name)));
    const found = await Promise.all(paths.map((path) => exists(path)));
    if (!isNamed || (files.length > 0 && !found.includes(true))) continue;
    packages.push(...needed.packages);
    prefixes.push(...needed.prefixes);
  }
  return { programs, packages, prefixes };
}

/** Returns the scripts of all packages by name: a command may run those of any member. */
async function scriptsIn(tree: string, directories: string[]): Promise<Map<string, string[]>> {
  const all = new Map<string, string[]>();
  for (const directory of directories) {
    const { scripts = {} } = (await readManifest(tree, directory)) ?? {};
    for (const [name, script] of Object.entries(scripts)) {
      const known = all.get(name);
      if (known === undefined) all.set(name, [script]);
      else known.push(script);
    }
  }
  return all;
}

/** Returns the commands that a shell runs in the finished release. */
function shellCommands({ hooks, cron }: AppSettings, { candidates, background }: Started): string[] {
  const starts = [...candidates, ...background].flatMap(({ command }) => command ?? []);
  return [
    ...starts.flatMap(({ target, shell, before }) => [
      ...(target.kind === 'shell' ? [shell] : []),
      ...before,
    ]),
    hooks.preSwitch,
    hooks.postSwitch,
    ...cron.map(({ action }) => (action.kind === 'command' ? action.command : undefined)),
  ].filter((command) => command !== undefined);
}

/** Returns the words of commands, which may be programs, and the packages that options of Node.js load. */
function namesIn(
  commands: string[],
  scripts: Map<string, string[]>,
): { programs: string[]; modules: string[] } {
  const programs = new Set<string>();
  const modules = new Set<string>();
  const waiting = new Set(commands);
  for (const text of waiting) {
    for (const command of text.split(/[;&|()\n]+/)) {
      const words = command.replaceAll(/["'`]/g, ' ').split(/\s+/);
      const runsScripts = words.some((word) => scriptRunners.has(word));
      for (const [at, word] of words.entries()) {
        const loaded = moduleOf(words[at - 1] ?? '', word);
        if (loaded !== undefined) modules.add(loaded);
        else if (word !== '') programs.add(word.replace(/^(?:\.\/)?node_modules\/\.bin\//, ''));
        if (!runsScripts) continue;
        const name = word.replace(/^npm:/, '');
        for (const script of scripts.get(name) ?? []) waiting.add(script);
        scripts.delete(name);
      }
    }
  }
  return { programs: [...programs], modules: [...modules] };
}

/** Returns the package that an option of Node.js loads, such as `ts-node` for `-r ts-node/register`. */
function moduleOf(before: string, word: string): string | undefined {
  const [option, value] = word.startsWith('-') ? splitOnce(word) : [before, word];
  if (!/^(?:-r|--require|--import|--loader|--experimental-loader)$/.test(option)) return undefined;
  return /^((?:@[^/]+\/)?[^./][^/]*)/.exec(value)?.[1];
}

function splitOnce(word: string): [string, string] {
  const at = word.indexOf('=');
  return at === -1 ? [word, ''] : [word.slice(0, at), word.slice(at + 1)];
}
