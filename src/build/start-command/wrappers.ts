import { join } from 'node:path';
import type { Notice } from '../../protocol/runner.ts';
import type { Word } from '../../releases/words.ts';
import { exists } from '../../system/fs/exists.ts';
import { NeedsShell, type Options, takeOptions, valuesOf } from './options.ts';
import { procfileName, readProcfile } from './project.ts';
import { quote } from './quote.ts';
import {
  addEnvFiles,
  addNotice,
  type CommandSource,
  seesThrough,
  type Trail,
  unsupportedStart,
} from './trail.ts';

/** Command behind a program that Sluice sees through: its words, its text, or a script of package.json. */
export type Behind =
  | { words: Word[] }
  | { text: string; from?: string; args?: Word[] }
  | { script: string; args: Word[] };

/**
 * Returns the command behind a program.
 * @param words words after the program
 * @throws AppError `unsupported_start`; NeedsShell
 */
export type Wrapper = (words: Word[], trail: Trail, source: CommandSource) => Behind | Promise<Behind>;

/** Programs that set variables, or run a program in their own place. */
export const wrappers: Record<string, Wrapper> = {
  exec: prefix('-a'),
  command: prefix(),
  nohup: prefix(),
  time: prefix('-f -o'),
  nice: prefix('-n --adjustment'),
  ionice: prefix('-c -n --class --classdata'),
  tini: prefix('-e -p'),
  'dumb-init': prefix('-r --rewrite'),
  catchsegv: prefix(),
  authbind: prefix('--depth'),
  stdbuf: prefix('-i -o -e --input --output --error'),
  sudo: (words, trail, source) =>
    assignments(takeOptions(words, '-u --user -g --group -p --prompt -C -h -r -t -T').rest, trail, source),
  /** The first word is the mask of processors; `-c` only changes its form. */
  taskset: (words) => ({ words: takeOptions(words).rest.slice(1) }),
  'cross-env': assignments,
  corepack: prefix(),
  env(words, trail, source) {
    const options = takeOptions(words, '-u --unset -C --chdir');
    if (
      options.written.some((option) =>
        /^(?:-i?|--ignore-environment)$|^-[SC]|^--(?:split-string|chdir)/.test(option),
      )
    ) {
      throw new NeedsShell('env has an option that Sluice does not know');
    }
    return assignments(options.rest, trail, source);
  },
  'cross-env-shell'(words, trail, source) {
    const { words: rest } = assignments(words, trail, source) as { words: Word[] };
    return { text: plain(rest).join(' ') };
  },
  sh: shell,
  bash: shell,
  async dotenv(words, trail) {
    const options = takeOptions(words, '-e -v -p -c');
    if (isGiven(options, '-p')) throw new NeedsShell('dotenv has an option that Sluice does not know');
    for (const pair of valuesOf(options, '-v') ?? []) assign(trail, pair);
    const named = valuesOf(options, '-e') ?? ['.env'];
    const cascade = valuesOf(options, '-c')?.[0];
    const files = named.flatMap((file) => (cascade === undefined ? file : cascadeOf(file, cascade)));
    await addEnvFiles(trail, 'dotenv', files, isGiven(options, '-o', '--override'));
    return { words: options.rest };
  },
  async dotenvx(words, trail) {
    const [subcommand, ...rest] = takeOptions(words).rest;
    if (subcommand !== 'run') throw new NeedsShell('Sluice knows only `dotenvx run`');
    const options = takeOptions(rest, '-f --env-file -fk --env-keys-file -fv -e --env --convention');
    if (valuesOf(options, '--convention', '-fv'))
      throw new NeedsShell('dotenvx has an option that Sluice does not know');
    const files = [...(options.values.get('-f') ?? []), ...(options.values.get('--env-file') ?? [])];
    const overrides = isGiven(options, '-o', '--overload', '--override');
    await addEnvFiles(trail, 'dotenvx', files.length > 0 ? files : ['.env'], overrides);
    for (const pair of valuesOf(options, '-e', '--env') ?? []) assign(trail, pair);
    const values = [...Object.values(trail.env), ...Object.values(trail.defaults)];
    if (values.some((value) => typeof value === 'string' && value.startsWith('encrypted:'))) {
      throw new NeedsShell('dotenvx must decrypt variables');
    }
    return { words: options.rest };
  },
  async 'env-cmd'(words, trail) {
    const options = takeOptions(words, '-f --file -r --rc-file -e --environments');
    if (
      valuesOf(options, '-e', '--environments', '-r', '--rc-file') ||
      isGiven(options, '-x', '--expand-envs')
    ) {
      throw new NeedsShell('env-cmd has an option that Sluice does not know');
    }
    const [first, ...others] = options.rest;
    // Before version 9, the first word is the file.
    const isFile = typeof first === 'string' && /(?:^|\/)\.env(?:\.[\w-]+)*$|\.env$/.test(first);
    const files = valuesOf(options, '-f', '--file') ?? [isFile ? first : '.env'];
    if (files.some((file) => /\.[cm]?js$/.test(file)))
      throw new NeedsShell('env-cmd runs a file that sets variables');
    await addEnvFiles(trail, 'env-cmd', files, !isGiven(options, '--no-override'));
    return { words: isFile ? others : options.rest };
  },
  /** Runs the script for the value of NODE_ENV. */
  'per-env'(words, { scripts, env, project: { settings, facts } }, source) {
    const { NODE_ENV = settings.env['NODE_ENV'] ?? facts.environment } = env;
    if (typeof NODE_ENV !== 'string') throw new NeedsShell('a variable names the script');
    const [name] = scripts.slice(-1).map((id) => id.split('/').at(-1) ?? '');
    if (name === undefined) throw unsupportedStart(source, 'it is not a script of package.json');
    return { script: `${name}:${NODE_ENV}`, args: words };
  },
  nf: foreman,
  foreman,
  heroku(words, trail, source) {
    if (words[0] !== 'local') throw unsupportedStart(source, 'Sluice knows only `heroku local`');
    return foreman(['start', ...words.slice(1)], trail, source);
  },
};

/** Returns the env files that `dotenv -c production` reads, the one with precedence first. */
function cascadeOf(file: string, environment: string): string[] {
  return [`${file}.${environment}.local`, `${file}.local`, `${file}.${environment}`, file];
}

/** @param withValue options of the program whose value is the next word */
function prefix(withValue?: string): Wrapper {
  return (words) => ({ words: takeOptions(words, withValue).rest });
}

function assignments(words: Word[], trail: Trail, _source: CommandSource): Behind {
  for (const [at, word] of words.entries()) {
    const [first] = typeof word === 'string' ? [word] : word;
    if (typeof first !== 'string' || !/^[A-Za-z_]\w*=/.test(first)) return { words: words.slice(at) };
    assign(trail, word);
  }
  return { words: [] };
}

/** Sets a variable by a word such as `A=1`. */
export function assign(trail: Trail, word: Word): void {
  const [first, ...others] = typeof word === 'string' ? [word] : word;
  const [, name, value = ''] = /^([A-Za-z_]\w*)=(.*)$/s.exec(first as string) ?? [];
  if (name === undefined) return;
  trail.env[name] = others.length === 0 ? value : [value, ...others];
}

async function shell(words: Word[], trail: Trail, source: CommandSource): Promise<Behind> {
  const [flag, text] = words;
  if (flag === undefined) throw unsupportedStart(source, 'it names no file');
  if (typeof flag !== 'string' || !/^-\w*c$/.test(flag) || typeof text !== 'string') {
    const { root, mayBuild } = trail.project;
    const isCertain = typeof flag === 'string' && !flag.startsWith('-') && !mayBuild;
    if (isCertain && trail.steps.length === 0 && !(await exists(join(root, trail.directory, flag)))) {
      throw unsupportedStart(source, `${flag} does not exist`);
    }
    throw new NeedsShell('it runs a shell script');
  }
  return { text };
}

/** Foreman starts all processes of a Procfile: `web` starts the app, and the others run in the background. */
async function foreman(words: Word[], trail: Trail, source: CommandSource): Promise<Behind> {
  const withValue = '-j --procfile -f -e --env -p --port -x --proxy -F --procfile';
  const before = takeOptions(words, withValue);
  const [subcommand, ...rest] = before.rest;
  if (subcommand !== 'start') throw unsupportedStart(source, 'Sluice knows only the subcommand "start"');
  const after = takeOptions(rest, withValue);
  const given = (...names: string[]) => valuesOf(after, ...names)?.[0] ?? valuesOf(before, ...names)?.[0];
  const name = given('-j', '--procfile', '-f') ?? procfileName;
  const files = given('-e', '--env') ?? '.env';
  const file = join(trail.directory, name);
  const processes = await readProcfile(trail.project, file);
  if (processes === undefined) throw unsupportedStart(source, `there is no file ${name}`);
  const named = plain(after.rest).flatMap((word) =>
    word.split(',').map((each) => each.split('=', 1)[0] ?? ''),
  );
  const names = named.filter((each) => Object.hasOwn(processes, each));
  const all = Object.keys(processes).filter((each) => each !== 'release');
  const started = names.length > 0 ? names : all;
  const chosen = started.includes('web') ? 'web' : (started[0] ?? Object.keys(processes)[0]);
  if (chosen === undefined) throw unsupportedStart(source, `${name} has no processes`);
  await addEnvFiles(trail, 'Foreman', files.split(','), true);
  const commands = started.map(
    (each) => [each, `nf start -j ${quote(name)} -e ${quote(files)} ${each}`] as const,
  );
  trail.procfile = {
    file,
    directory: trail.directory,
    names: all,
    chosen,
    commands: Object.fromEntries(commands),
  };
  const { release } = processes;
  if (release !== undefined && file !== join(trail.project.app, procfileName)) {
    for (const notice of notStarted({ release }, chosen, name)) addNotice(trail, notice);
  }
  seesThrough(trail, 'Foreman');
  return { text: processes[chosen] ?? '', from: `"${chosen}" in ${name}` };
}

/** Returns a notice about the processes of a Procfile that Sluice does not start. @param chosen process that it starts */
export function notStarted(processes: Record<string, string>, chosen: string, file: string): Notice[] {
  const names = Object.keys(processes);
  if (names.length === 0) return [];
  const { release, ...background } = processes;
  const settings = {
    ...(release !== undefined && { hooks: { preSwitch: release } }),
    ...(Object.keys(background).length > 0 && { processes: background }),
  };
  return [
    {
      code: 'process_not_started',
      message: `Sluice starts "${chosen}" of ${file}, and not ${names.map((name) => `"${name}"`).join(', ')}`,
      hint: `To run them, write ${JSON.stringify(settings)} in sluice.json.`,
    },
  ];
}

/** Returns words without variables. @throws NeedsShell */
export function plain(words: Word[]): string[] {
  return words.map((word) => {
    if (typeof word !== 'string') throw new NeedsShell('it passes a variable to another program');
    return word;
  });
}

export function isGiven({ values }: Options, ...names: string[]): boolean {
  return names.some((name) => values.has(name));
}
