import type { Word } from '../../releases/words.ts';
import { chooseNode } from '../node-version/choose.ts';
import { readNodeRequests } from '../node-version/requests.ts';
import { NeedsShell, takeOptions, valuesOf } from './options.ts';
import type { Project } from './project.ts';
import { addEnvFiles, type CommandSource, type Trail, unsupportedStart } from './trail.ts';

/** Arguments of Node.js and the file that it runs. */
export interface NodeCommand {
  nodeArgs: Word[];
  file: string;
  args: Word[];
}

/** Options of Node.js whose value may be the next word (source: `node --help`; options of V8 have no such value). */
const optionsWithValue =
  `-r --require --import --loader --experimental-loader -C --conditions --env-file --env-file-if-exists
 --title --icu-data-dir --openssl-config --max-http-header-size --inspect-port --disable-warning --unhandled-rejections
 --dns-result-order --diagnostic-dir --redirect-warnings --report-dir --report-directory --report-filename --secure-heap
 --tls-cipher-list --trace-event-categories --localstorage-file --watch-path
 --experimental-default-type --run`.replaceAll('\n', ' ');

/** Options of Node.js that load a package, which must stay installed. */
const loaders = ['-r', '--require', '--import', '--loader', '--experimental-loader'];

/** Options of Node.js that run something other than a file. */
const optionsWithoutFile = new Set(
  '-e --eval -p --print -pe -c --check -i --interactive -h --help -v --version --test -'.split(' '),
);

const envFileOptions = ['--env-file', '--env-file-if-exists'];

/** Options of Node.js that start the file in another process when a file changes. */
const watchOptions = /^--watch(?:-path|-preserve-output|-kill-signal)?(?:=|$)/;

/** Parses the words after `node`; `script` is the script of package.json that `node --run` runs. */
export async function parseNode(
  words: Word[],
  source: CommandSource,
  trail: Trail,
): Promise<NodeCommand | { script: string; args: Word[] }> {
  const options = takeOptions(words, optionsWithValue);
  const script = valuesOf(options, '--run')?.[0];
  if (script !== undefined) return { script, args: options.rest };
  const withoutFile = [...options.values.keys()].find((name) => optionsWithoutFile.has(name));
  if (withoutFile !== undefined) throw new NeedsShell(`with ${withoutFile}, Node.js does not run a file`);
  const isWatching = options.written.some((option) => watchOptions.test(option));
  if (isWatching) trail.development = source.text;
  for (const loaded of loaders.flatMap((name) => options.values.get(name) ?? [])) keepPackage(trail, loaded);
  // An older Node.js does not know these options, and a newer one ends if the file is missing.
  for (const name of envFileOptions) {
    await addEnvFiles(trail, `node ${name}`, options.values.get(name) ?? [], false);
  }
  const [file, ...args] = options.rest;
  if (file === undefined) throw unsupportedStart(source, 'it names no file');
  if (typeof file !== 'string') throw new NeedsShell('a variable names the file');
  return { nodeArgs: await withoutSeen(options.written, trail.project), file, args };
}

/** Options for features that Node.js 18 and later always have: newer versions reject the options. */
const alwaysOn =
  /^--harmony-(?:top-level-await|optional-chaining|nullish|class-fields|private-methods|weak-refs|import-assertions|bigint|dynamic-import)$|^--experimental-import-assertions$|^--no-?use-idle-notification$/;

/** Options that older versions of Node.js know, and that Sluice's own rejects. */
const removed =
  /^--(?:experimental-(?:network-imports|default-type|transform-types)|no-experimental-(?:fetch|global-webcrypto))$/;

/** Removes the options that Sluice has seen through, with their values, and those that the app's Node.js rejects. */
export async function withoutSeen(written: string[], { settings, root }: Project): Promise<string[]> {
  const nameOf = (option: string) => option.replaceAll('_', '-').split('=', 1)[0] ?? '';
  const isRejected =
    written.some((option) => removed.test(nameOf(option))) && (await runsOnOwn(root, settings));
  const isSeen = (option: string) =>
    watchOptions.test(option) ||
    alwaysOn.test(nameOf(option)) ||
    (isRejected && removed.test(nameOf(option))) ||
    envFileOptions.includes(nameOf(option));
  const takesNext = (option = '') =>
    ['--watch-path', ...envFileOptions].includes(option) ||
    (isRejected && option === '--experimental-default-type');
  return written.filter((option, at) => !isSeen(option) && !takesNext(written[at - 1]));
}

/** Returns true if an app runs on Sluice's own version of Node.js. */
async function runsOnOwn(root: string, { node, directory = '' }: Project['settings']): Promise<boolean> {
  const requests = await readNodeRequests(root, { node, directory });
  return (await chooseNode(requests, { own: process.versions.node, list: async () => [] })).own;
}

/** Keeps the package of a module such as `dotenv/config`. */
function keepPackage({ keep }: Trail, module: string): void {
  const name = /^(?:@[^/]+\/)?[^/.][^/]*/.exec(module)?.[0];
  if (name !== undefined && !module.startsWith('node:')) keep.add(name);
}

/** Programs that run TypeScript or another language in Node.js, with the options of Node.js that do the same. */
interface Runtime {
  nodeArgs: string[];
  keep: string[];
  withValue?: string;
  /** variables by option; `true` stands for an option without a value */
  variables?: Record<string, string>;
  /** options of Node.js by option of the program, in place of `nodeArgs` */
  instead?: Record<string, string[]>;
}

const tsNode: Runtime = {
  nodeArgs: ['--require', 'ts-node/register'],
  keep: ['ts-node', 'typescript'],
  withValue:
    '-P --project --tsProject -O --compiler-options --compilerOptions -C --compiler -I --ignore --cwd --dir --scope-dir',
  variables: {
    '-P': 'TS_NODE_PROJECT',
    '--project': 'TS_NODE_PROJECT',
    '-O': 'TS_NODE_COMPILER_OPTIONS',
    '--compiler-options': 'TS_NODE_COMPILER_OPTIONS',
    '-C': 'TS_NODE_COMPILER',
    '--compiler': 'TS_NODE_COMPILER',
    '-T': 'TS_NODE_TRANSPILE_ONLY',
    '--transpile-only': 'TS_NODE_TRANSPILE_ONLY',
    '--transpileOnly': 'TS_NODE_TRANSPILE_ONLY',
    '--swc': 'TS_NODE_SWC',
    '--files': 'TS_NODE_FILES',
    '--prefer-ts-exts': 'TS_NODE_PREFER_TS_EXTS',
    '--skip-project': 'TS_NODE_SKIP_PROJECT',
  },
  instead: { '--esm': ['--loader', 'ts-node/esm'] },
};

const tsx: Runtime = {
  nodeArgs: ['--import', 'tsx'],
  keep: ['tsx'],
  withValue: '--tsconfig --include --exclude --ignore',
  variables: { '--tsconfig': 'TSX_TSCONFIG_PATH', '--no-cache': 'TSX_DISABLE_CACHE' },
  instead: {},
};

/** Options that only matter while files change. */
const ofWatchers =
  /^--(?:clear-screen|include|exclude|ignore|cwd|dir|scope-dir|pretty|log-error|emit|tsProject)$/;

export const runtimes: Record<string, Runtime> = {
  tsx,
  esno: tsx,
  esmo: tsx,
  'ts-node': tsNode,
  'ts-node-script': tsNode,
  'ts-node-transpile-only': { ...tsNode, nodeArgs: ['--require', 'ts-node/register/transpile-only'] },
  'ts-node-esm': { ...tsNode, nodeArgs: ['--loader', 'ts-node/esm'] },
  'swc-node': { nodeArgs: ['--require', '@swc-node/register'], keep: ['@swc-node/register', 'typescript'] },
  'esbuild-register': { nodeArgs: ['--require', 'esbuild-register'], keep: ['esbuild-register', 'esbuild'] },
  'sucrase-node': { nodeArgs: ['--require', 'sucrase/register'], keep: ['sucrase'] },
  coffee: { nodeArgs: ['--require', 'coffeescript/register'], keep: ['coffeescript'] },
};

/** Parses the words after a program such as `tsx`. */
export async function parseRuntime(
  name: string,
  words: Word[],
  source: CommandSource,
  trail: Trail,
): Promise<NodeCommand> {
  const { nodeArgs, keep, withValue = '', variables = {}, instead = {} } = runtimes[name] as Runtime;
  const { values, rest } = takeOptions(words, `${withValue} ${optionsWithValue}`);
  const passed: string[] = [];
  let own = nodeArgs;
  for (const [option, given] of values) {
    const variable = variables[option];
    if (variable !== undefined) trail.env[variable] = given.at(-1) || 'true';
    else if (instead[option] !== undefined) own = instead[option];
    else if (!ofWatchers.test(option)) {
      passed.push(...given.flatMap((value) => (value === '' ? [option] : [`${longName(option)}=${value}`])));
    }
  }
  for (const needed of keep) trail.keep.add(needed);
  const parsed = await parseNode([...passed, '--', ...rest], source, trail);
  if ('script' in parsed) throw unsupportedStart(source, 'it names no file');
  return { ...parsed, nodeArgs: [...own, ...parsed.nodeArgs] };
}

/** Node.js accepts `--require=x`, and not `-r=x`. */
function longName(option: string): string {
  return { '-r': '--require', '-C': '--conditions' }[option] ?? option;
}
