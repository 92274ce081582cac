import { dirname, join } from 'node:path';
import type { Word } from '../../releases/words.ts';
import { blankComments } from './comments.ts';
import { takeOptions, valuesOf } from './options.ts';
import { type Project, readText } from './project.ts';
import { quote } from './quote.ts';
import { type CommandSource, changeDirectory, seesThrough, type Trail, unsupportedStart } from './trail.ts';
import { type Behind, plain, type Wrapper } from './wrappers.ts';

/** Programs that start and watch the app, as Sluice itself does. */
export const processManagers: Record<string, Wrapper> = {
  pm2,
  'pm2-runtime': pm2,
  'pm2-docker': pm2,
  forever(words, trail, source) {
    const withValue =
      '-m -l -o -e -p -c -f --pidFile --sourceDir --workingDir --minUptime --spinSleepTime --uid --killSignal';
    const before = takeOptions(words, withValue);
    const { values, rest } =
      before.rest[0] === 'start' ? takeOptions(before.rest.slice(1), withValue) : before;
    if (rest.length === 0) throw unsupportedStart(source, 'it names no file');
    seesThrough(trail, 'forever');
    const command = values.get('-c')?.[0] ?? before.values.get('-c')?.[0] ?? 'node';
    return { words: [...command.split(' '), ...rest] };
  },
  nodemon,
  'node-dev': watcher('node', '--notify --timestamp --deps --dedupe'),
  supervisor: watcher(
    'node',
    '-w --watch -i --ignore -e --extensions -p --poll-interval -x --exec -n --no-restart-on',
  ),
  'ts-node-dev': watcher(
    'ts-node',
    `-r --require -P --project -O --compiler-options --watch --ignore-watch --interval
    --debounce --tree-kill --notify --dir`,
  ),
  tsnd: watcher(
    'ts-node',
    '-r --require -P --project -O --compiler-options --watch --ignore-watch --interval --debounce',
  ),
};

const pm2Options = `-i --instances -n --name --interpreter --interpreter-args --node-args -o --output -e --error -l --log
  --log-type --max-memory-restart --env -c --cron --max-restarts --restart-delay --exp-backoff-restart-delay --cwd
  --kill-timeout --listen-timeout -w --watch --ignore-watch --only --namespace --port --user -u --secret --public --format`;

async function pm2(words: Word[], trail: Trail, source: CommandSource): Promise<Behind> {
  const at = words.indexOf('--');
  const own = at === -1 ? words : words.slice(0, at);
  const args = at === -1 ? [] : words.slice(at + 1);
  const operands: Word[] = [];
  const values = new Map<string, string[]>();
  for (let rest = own; rest.length > 0; ) {
    const options = takeOptions(rest, pm2Options);
    for (const [name, given] of options.values) values.set(name, given);
    operands.push(...options.rest.slice(0, 1));
    rest = options.rest.slice(1);
  }
  const [first, ...others] = plain(operands);
  const subcommands = ['start', 'startOrRestart', 'startOrReload', 'reload', 'restart'];
  const [target, ...following] = subcommands.includes(first ?? '') ? others : plain(operands);
  if (target === undefined) throw unsupportedStart(source, 'it names no file');
  seesThrough(trail, 'PM2');
  if (/\.config\.[cm]?js$|\.(?:json|ya?ml)$/.test(target)) return await ecosystem(target, trail, source);
  const cwd = values.get('--cwd')?.[0];
  if (cwd !== undefined) changeDirectory(trail, cwd, source);
  const interpreter = values.get('--interpreter')?.[0];
  const nodeArgs = valuesOf({ values, written: [], rest: [] }, '--node-args', '--interpreter-args')?.[0];
  if (/\s/.test(target)) return { text: target };
  if (interpreter === 'none' || (interpreter === undefined && !/[./]/.test(target))) {
    return { words: [target, ...following, ...args] };
  }
  const options = nodeArgs?.split(/\s+/).filter(Boolean) ?? [];
  return { words: [interpreter ?? 'node', ...options, target, ...args] };
}

/** App in a configuration file of PM2. */
interface EcosystemApp {
  script: string;
  args: string[];
  nodeArgs: string[];
  cwd?: string | undefined;
  interpreter?: string | undefined;
  /** names of settings whose values are not literal texts */
  computed: string[];
}

async function ecosystem(file: string, trail: Trail, source: CommandSource): Promise<Behind> {
  const { apps, isCertain } = await readEcosystem(trail.project, join(trail.directory, file));
  const [app] = apps;
  if (app === undefined) {
    throw unsupportedStart(source, `Sluice finds no "script" in ${file}`, ecosystemHint('node server.js'));
  }
  const command = ecosystemCommand(app);
  if (apps.length > 1 || !isCertain) {
    const why = `${file} has several apps, or is a program that Sluice does not run`;
    throw unsupportedStart(source, why, ecosystemHint(command));
  }
  if (app.computed.length > 0) {
    const names = app.computed.map((name) => `"${name}"`).join(', ');
    const why = `Sluice does not run ${file}, so it does not know the values of ${names}`;
    throw unsupportedStart(
      source,
      why,
      `${ecosystemHint(command)} Add the values of ${names} to the command.`,
    );
  }
  const cwd = app.cwd === ownDirectory ? dirname(file) : app.cwd;
  if (cwd !== undefined) changeDirectory(trail, cwd, source);
  return { text: command, from: file };
}

function ecosystemHint(command: string): string {
  return `Write {"start": ${JSON.stringify(command)}} in sluice.json, and other apps as "processes".`;
}

function ecosystemCommand({ script, args, nodeArgs, interpreter }: EcosystemApp): string {
  const program = interpreter === 'none' || !/[./]/.test(script) ? [] : [interpreter ?? 'node', ...nodeArgs];
  return [...program, /\s/.test(script) && args.length > 0 ? `"${script}"` : script, ...args].join(' ');
}

/** Files in which PM2 finds its apps. */
export const ecosystemFiles = ['js', 'cjs', 'mjs', 'json', 'yml'].map(
  (extension) => `ecosystem.config.${extension}`,
);

/**
 * Reads the literal texts of a PM2 configuration file: Sluice does not run it.
 * @returns `isCertain` is false if the file may have other values
 */
export async function readEcosystem(
  project: Pick<Project, 'root'>,
  path: string,
): Promise<{ apps: EcosystemApp[]; isCertain: boolean }> {
  const written = (await readText(project, path)) ?? '';
  // In YAML, `/*` begins no comment.
  const text = (/\.ya?ml$/.test(path) ? written : blankComments(written))
    .replaceAll(simpleTemplate, "'$1'")
    .replaceAll(environment, '')
    .replaceAll(defaultValue, '');
  const scripts = textsOf(text, 'script');
  const isCertain = scripts.length === 1 && textsOf(text, 'name').length <= 1;
  const settings = isCertain ? settingsOf(text) : { computed: [] };
  return { apps: scripts.map((script) => ({ script, args: [], nodeArgs: [], ...settings })), isCertain };
}

/** Template without an expression. */
const simpleTemplate = /`([^`$'"\n\\]*)`/g;

/** Variables of an app, which may have the names of settings. */
const environment = /['"]?\benv\w*['"]?\s*:\s*\{(?:[^{}'"`]|'[^'\n]*'|"[^"\n]*"|`[^`]*`){0,4096}\}/g;

/** Names of the options of Node.js, as alternatives of a regular expression. */
const nodeArgsNames = 'node_args|nodeArgs|interpreter_args|interpreterArgs';

/** Setting with the value that PM2 uses without it. */
const defaultValue = new RegExp(
  `['"]?\\b(?:(?:args|cwd|interpreter|${nodeArgsNames})['"]?\\s*:\\s*(?:undefined|null)` +
    `|cwd['"]?\\s*:\\s*process\\.cwd\\(\\)|interpreter['"]?\\s*:\\s*process\\.execPath)\\s*(?=[,}\\n])`,
  'g',
);

/** Working directory in the words of JavaScript: the directory of the file. */
const ownDirectory = '__dirname';

/** Setting whose value is the directory of the file. */
const isOwnDirectory =
  /\bcwd['"]?\s*:\s*(?:__dirname|(?:path\.)?(?:resolve|join)\(\s*__dirname\s*\))\s*[,}\n]/;

/** Returns the settings of the only app of a file. */
function settingsOf(text: string): Omit<EcosystemApp, 'script'> {
  const values = {
    args: wordsOf(text, 'args'),
    nodeArgs: wordsOf(text, nodeArgsNames),
    cwd: isOwnDirectory.test(text) ? ownDirectory : textsOf(text, 'cwd')[0],
    interpreter: textsOf(text, 'interpreter')[0],
  };
  const names = { args: 'args', nodeArgs: nodeArgsNames, cwd: 'cwd', interpreter: 'interpreter' };
  const computed = Object.entries(values).flatMap(([field, value]) => {
    const pattern = new RegExp(`\\b(${names[field as keyof typeof names]})['"]?\\s*:`);
    return value === undefined ? (pattern.exec(text)?.[1] ?? []) : [];
  });
  return { ...values, args: values.args ?? [], nodeArgs: values.nodeArgs ?? [], computed };
}

/** Returns the literal texts that a setting has. @param names alternatives of a regular expression */
function textsOf(text: string, names: string): string[] {
  const pattern = new RegExp(`\\b(?:${names})['"]?\\s*:\\s*(?:'([^'\\n]*)'|"([^"\\n]*)")`, 'g');
  return [...text.matchAll(pattern)].map(([, single, double]) => single ?? double ?? '');
}

/** Returns arguments that are one literal text or an array of literals, as words of a shell; undefined for other values. */
function wordsOf(text: string, names: string): string[] | undefined {
  const [written] = textsOf(text, names);
  if (written !== undefined) return written.split(/\s+/).filter(Boolean);
  const array = new RegExp(`\\b(?:${names})['"]?\\s*:\\s*\\[([^\\]]{0,4096})\\]`).exec(text)?.[1];
  if (array === undefined || !/^[\s,]*$/.test(array.replaceAll(literal, ''))) return undefined;
  return [...array.matchAll(literal)].map(([word, single, double]) => quote(single ?? double ?? word));
}

/** Literal in an array: a text, whose content is a group, or a number. */
const literal = /'([^'\n]*)'|"([^"\n]*)"|\b\d+\b/g;

/** Programs that start the app again when a file changes. */
export const watchers = new Set(['nodemon', 'node-dev', 'supervisor', 'ts-node-dev', 'tsnd']);

/** @param program that runs the file that the watcher names */
function watcher(program: string, withValue: string): Wrapper {
  return (words, trail, source) => {
    const { values, rest } = takeOptions(words, withValue);
    if (rest.length === 0) throw unsupportedStart(source, 'it names no file');
    trail.development = source.text;
    const required = [...(values.get('-r') ?? []), ...(values.get('--require') ?? [])];
    const options = required.flatMap((module) => ['-r', module]);
    const by = program === 'node' ? execOf(values) : undefined;
    return { words: [by ?? program, ...options, ...rest] };
  };
}

/** Returns the program that `supervisor --exec` runs; undefined for Node.js. */
function execOf(values: Map<string, string[]>): string | undefined {
  return (values.get('-x') ?? values.get('--exec'))?.[0];
}

async function nodemon(words: Word[], trail: Trail, source: CommandSource): Promise<Behind> {
  const { values, written, rest } = takeOptions(
    words,
    '-e --ext -w --watch -i --ignore -d --delay -x --exec -s --signal --config --cwd -r --require -L --legacy-watch',
  );
  trail.development = source.text;
  const config =
    (await readText(trail.project, join(trail.directory, values.get('--config')?.[0] ?? 'nodemon.json'))) ??
    '';
  const configured = /"exec"\s*:\s*"((?:[^"\\]|\\.)*)"/.exec(config)?.[1];
  const exec = (values.get('-x') ?? values.get('--exec'))?.[0] ?? configured?.replaceAll('\\"', '"');
  if (exec !== undefined) return { text: exec, args: rest };
  const passed = (values.get('-r') ?? values.get('--require') ?? []).flatMap((module) => ['-r', module]);
  const forNode = written.filter((option) =>
    /^--(?:inspect|experimental-|import|loader|enable-|max-)/.test(option),
  );
  const file = rest[0] ?? trail.project.manifest?.main ?? 'index.js';
  const isTypeScript = typeof file === 'string' && /\.[cm]?tsx?$/.test(file);
  const dependencies = {
    ...trail.project.manifest?.devDependencies,
    ...trail.project.manifest?.dependencies,
  };
  const runtime = isTypeScript
    ? ['ts-node', 'tsx'].find((name) => Object.hasOwn(dependencies, name))
    : undefined;
  const inspectless = forNode.filter((option) => !option.startsWith('--inspect'));
  return { words: [runtime ?? 'node', ...inspectless, ...passed, file, ...rest.slice(1)] };
}
