import { join } from 'node:path';
import { AppError } from '../../errors/app-error.ts';
import type { Word } from '../../releases/words.ts';
import { takeOptions, valuesOf } from './options.ts';
import { readText } from './project.ts';
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

/** Options of PM2 that have a value, with the option of a file of PM2 that has the same meaning. */
const pm2Options: Record<string, string | null> = {
  '-i': 'instances',
  '--instances': 'instances',
  '--max-memory-restart': 'max_memory_restart',
  '--kill-timeout': 'kill_timeout',
  '--listen-timeout': 'listen_timeout',
  '--max-restarts': 'max_restarts',
  '--min-uptime': 'min_uptime',
  '--restart-delay': 'restart_delay',
  '--exp-backoff-restart-delay': 'exp_backoff_restart_delay',
  '--stop-exit-codes': 'stop_exit_codes',
  '-c': 'cron_restart',
  '--cron': 'cron_restart',
  '--cron-restart': 'cron_restart',
  ...Object.fromEntries(
    `-n --name --interpreter --interpreter-args --node-args -o --output -e --error -l --log --log-type --env --cwd
    --ignore-watch --only --namespace --port --user -u --uid --gid --secret --public --machine-name --format --log-date-format --filter-env -p --pid`
      .split(/\s+/)
      .map((name) => [name, null]),
  ),
};

/** Options of PM2 without a value, with the option of a file of PM2 and its value. */
const pm2Switches: Record<string, [name: string, value: boolean]> = {
  '--wait-ready': ['wait_ready', true],
  '--shutdown-with-message': ['shutdown_with_message', true],
  '--no-autorestart': ['autorestart', false],
};

/** Subcommands of PM2 that start apps. */
const pm2Starts = ['start', 'startOrRestart', 'startOrReload', 'startOrGracefulReload', 'reload', 'restart'];

/** Commands of PM2 that start nothing. */
const pm2Chore =
  /^(?:(?:npx|bunx|yarn|pnpm)\s+(?:exec\s+)?)?pm2\s+(?:-\S+\s+)*(?:del|delete|stop|kill|save|dump|flush|logs?|monit|ls|list|status|ps|jlist|ping|startup|unstartup|reset|describe|show|info|set|install|update|link|plus)\b/;

/** Returns true for a command of PM2 that starts nothing, such as `pm2 delete all` or `pm2 logs`. */
export function isPm2Chore(text: string): boolean {
  return pm2Chore.test(text);
}

/** Names of files of PM2. */
const pm2File = /\.config\.[cm]?[jt]s$|\.(?:json5?|ya?ml)$/;

/** Error for a command that starts the apps of a file of PM2, if Sluice has not read the file. */
export class NamesPm2File extends AppError {
  /** relative to the release */
  readonly file: string;
  /** working directory, relative to the release */
  readonly directory: string;
  /** option `--env` */
  readonly env: string | undefined;
  /** option `--only` */
  readonly only: string[] | undefined;

  constructor(source: CommandSource, { directory }: Trail, file: string, values: Map<string, string[]>) {
    const hint = 'Check that the repository has the file.';
    const { code, message } = unsupportedStart(source, `Sluice finds no app that serves requests in ${file}`);
    super(code, message, { hint });
    this.directory = directory;
    this.file = join(directory, file);
    this.env = values.get('--env')?.[0];
    this.only = values.get('--only')?.[0]?.split(/[, ]/);
  }
}

async function pm2(words: Word[], trail: Trail, source: CommandSource): Promise<Behind> {
  const at = words.indexOf('--');
  const own = at === -1 ? words : words.slice(0, at);
  const args = at === -1 ? [] : words.slice(at + 1);
  const operands: Word[] = [];
  const values = new Map<string, string[]>();
  for (let rest = own; rest.length > 0; ) {
    const options = takeOptions(rest, Object.keys(pm2Options).join(' '));
    for (const [name, given] of options.values) values.set(name, given);
    operands.push(...options.rest.slice(0, 1));
    rest = options.rest.slice(1);
  }
  const [first, ...others] = plain(operands);
  const [target, ...following] = pm2Starts.includes(first ?? '') ? others : plain(operands);
  if (target === undefined) throw unsupportedStart(source, 'it names no file');
  if (pm2File.test(target)) {
    const file = join(trail.directory, target);
    const start = trail.project.facts.starts.find((each) => each.file === file);
    if (start === undefined) throw new NamesPm2File(source, trail, target, values);
    trail.directory = trail.project.app;
    return { text: start.text, from: target };
  }
  seesThrough(trail, 'PM2');
  trail.pm2 = optionsOf(values);
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

/** Returns the options of a command as a file of PM2 would have them. */
function optionsOf(values: Map<string, string[]>): Record<string, unknown> {
  return Object.fromEntries(
    [...values].flatMap(([written, [value]]): [string, unknown][] => {
      const name = pm2Options[written];
      const change = pm2Switches[written];
      if (change !== undefined) return [change];
      return typeof name === 'string' ? [[name, value]] : [];
    }),
  );
}

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
