import { AppError } from '../../errors/app-error.ts';

/** A start command, taken apart. Nothing has been looked for on the disk yet. */
export interface StartCommand {
  /** `VAR=value` before the program */
  env: Record<string, string>;
  nodeArgs: string[];
  /**
   * What to run: a file that Node.js is told to run, a file that says itself what runs it, a program of one of the
   * app's packages, or another script of package.json.
   */
  program: { kind: 'file' | 'executable' | 'bin' | 'script'; name: string };
  args: string[];
}

/** What runs a file in the process it starts in, and the Node options that do the same. */
const runtimes: Record<string, string[]> = {
  node: [],
  nodejs: [],
  tsx: ['--import', 'tsx'],
  'ts-node': ['--require', 'ts-node/register'],
};

/** What starts the app in a process of its own: one that would have no part in health checks and switches. */
const supervisors = new Set(
  `nodemon node-dev ts-node-dev tsnd supervisor forever pm2 pm2-runtime pm2-docker concurrently npm-run-all
   run-s run-p dotenv dotenvx`.split(/\s+/),
);

/**
 * Takes a start command apart.
 * @param from where it stands, for messages
 * @throws AppError `unsupported_start`
 */
export function parseCommand(command: string, from: string): StartCommand {
  const refuse = (why: string, hint?: string) => unsupportedStart(command, from, why, hint);
  const split = splitWords(command);
  if ('needsShell' in split)
    throw refuse(`it takes a shell to run: it has ${describe(split.needsShell)} in it`);

  const { env, words } = takeAssignments(split.words);
  const [program, ...rest] = words[0] === 'npx' ? words.slice(1) : words;
  if (program === undefined || program.startsWith('-')) throw refuse('it names no program');
  if (supervisors.has(program)) {
    throw refuse(
      `${program} starts the app in a process of its own, and Sluice must start it itself`,
      'Name the file that the app starts with, as in "node server.js": Sluice restarts it and keeps its output.',
    );
  }

  const runtime = Object.hasOwn(runtimes, program) ? runtimes[program] : undefined;
  if (runtime !== undefined) {
    const { options, file, args } = takeNodeOptions(rest, refuse);
    return { env, nodeArgs: [...runtime, ...options], program: { kind: 'file', name: file }, args };
  }
  if (program === 'npm' || program === 'pnpm' || program === 'yarn') {
    const { script, args } = takeScript(program, rest, refuse);
    return { env, nodeArgs: [], program: { kind: 'script', name: script }, args };
  }
  const bin = program.replace(/^(?:\.\/)?node_modules\/\.bin\//, '');
  const kind = bin.includes('/') || /\.[cm]?[jt]s$/.test(bin) ? 'executable' : 'bin';
  return { env, nodeArgs: [], program: { kind, name: bin }, args: rest };
}

/** The error that says what can be run. */
export function unsupportedStart(command: string, from: string, why: string, hint?: string): AppError {
  return new AppError('unsupported_start', `${from} is \`${command}\`: ${why}`, {
    hint:
      hint ??
      'What can be run: `[VAR=value …] node [options] file [arguments]`, or a program of a package in dependencies, such as `next start`. Write it in sluice.json, or in the scripts of package.json.',
  });
}

function describe(character: string): string {
  if (character === '\n') return 'a line end';
  if (character === '"' || character === "'") return `an unclosed ${character}`;
  if (character === '$') return '"$" (variables such as PORT are in the environment of the app)';
  return `"${character}"`;
}

function takeAssignments(words: string[]): { env: Record<string, string>; words: string[] } {
  const env: Record<string, string> = {};
  let at = 0;
  for (; at < words.length; at += 1) {
    const word = words[at] ?? '';
    const assignment = /^([A-Za-z_][A-Za-z0-9_]*)=(.*)$/s.exec(word);
    if (assignment?.[1] !== undefined) env[assignment[1]] = assignment[2] ?? '';
    else if (!['exec', 'env', 'cross-env'].includes(word)) break;
  }
  return { env, words: words.slice(at) };
}

/** npm takes the script's arguments after `--`; yarn and pnpm take a script's name without `run`, too. */
function takeScript(
  manager: 'npm' | 'pnpm' | 'yarn',
  words: string[],
  refuse: (why: string) => AppError,
): { script: string; args: string[] } {
  const [verb, ...rest] = words;
  const explicit = verb === 'run' || verb === 'run-script';
  const [script, ...args] = explicit ? rest : words;
  const named = explicit || script === 'start' || manager !== 'npm';
  if (script === undefined || script.startsWith('-') || !named) {
    throw refuse(`of ${manager}, only "start" and "run" with the name of a script are understood`);
  }
  return { script, args: args[0] === '--' ? args.slice(1) : args };
}

interface NodeCommand {
  options: string[];
  file: string;
  args: string[];
}

/** Node's options whose value may stand in a word of its own (source: `node --help`; V8's options never do). */
const optionsWithValue = new Set(
  `-r --require --import --loader --experimental-loader -C --conditions --env-file --env-file-if-exists --title
   --icu-data-dir --openssl-config --max-http-header-size --inspect-port --disable-warning --unhandled-rejections
   --dns-result-order --diagnostic-dir --redirect-warnings --report-dir --report-directory --report-filename
   --secure-heap --tls-cipher-list --trace-event-categories --localstorage-file`.split(/\s+/),
);

/** Node's options that run something other than a file, or run it in another process. */
const optionsWithoutFile = new Set(
  '-e --eval -p --print -pe -c --check -i --interactive -h --help -v --version --run --test --watch --watch-path -'.split(
    ' ',
  ),
);

/**
 * Parts the words after `node` into its options, the file it runs, and what that is given.
 * @param refuse makes the error for what is not `node [options] file [arguments]`
 */
export function takeNodeOptions(words: string[], refuse: (why: string) => AppError): NodeCommand {
  const options: string[] = [];
  for (let at = 0; at < words.length; at += 1) {
    const word = words[at] ?? '';
    if (optionsWithoutFile.has(word.split('=', 1)[0] ?? '')) {
      throw refuse(`with ${word} Node.js does not run the app's file in the process that was started`);
    }
    if (word === '--') return withFile(options, words.slice(at + 1), refuse);
    if (!word.startsWith('-')) return withFile(options, words.slice(at), refuse);
    options.push(word);
    if (optionsWithValue.has(word)) options.push(words[++at] ?? '');
  }
  throw refuse('it names no file');
}

function withFile(
  options: string[],
  [file, ...args]: string[],
  refuse: (why: string) => AppError,
): NodeCommand {
  if (file === undefined) throw refuse('it names no file');
  return { options, file, args };
}

/** What a shell would make more of than words: several commands, pipes, redirections, substitution, wildcards. */
const shellOnly = /[|&;<>()$`*?[\]{}!\n]/;

/**
 * Splits a command into words as a POSIX shell does, as far as quoting goes: '…', "…" and \.
 * @returns the words; or, where it takes a shell to run the command, the character that does
 */
export function splitWords(command: string): { words: string[] } | { needsShell: string } {
  const words: string[] = [];
  let word: string | undefined;
  let quote: string | undefined;
  for (let at = 0; at < command.length; at += 1) {
    const character = command.charAt(at);
    if (quote === "'" && character !== "'") word += character;
    else if (character === '\\' && at + 1 < command.length) {
      at += 1;
      const next = command.charAt(at);
      word = (word ?? '') + (quote === '"' && !'"\\$`'.includes(next) ? `\\${next}` : next);
    } else if (character === quote) quote = undefined;
    else if (quote === '"' ? '$`'.includes(character) : shellOnly.test(character)) {
      return { needsShell: character };
    } else if (quote !== undefined) word += character;
    else if (character === '"' || character === "'") {
      quote = character;
      word ??= '';
    } else if (/\s/.test(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else word = (word ?? '') + character;
  }
  if (quote !== undefined) return { needsShell: quote };
  if (word !== undefined) words.push(word);
  return { words };
}
