import { AppError } from '../../errors/app-error.ts';

/** Parts of a start command, as written: no file has been looked up yet. */
export interface StartCommand {
  /** `VAR=value` before the program */
  env: Record<string, string>;
  nodeArgs: string[];
  /**
   * Program to run: a file for Node.js, a file that names its own interpreter, a program of one of the app's packages,
   * or another script of package.json.
   */
  program: { kind: 'file' | 'executable' | 'bin' | 'script'; name: string };
  args: string[];
}

/** Makes the error for a command that Sluice cannot run. */
type Refuse = (why: string, hint?: string) => AppError;

/** Programs that run a file in their own process, and the Node.js options that do the same. */
const runtimes = new Map([
  ['node', []],
  ['nodejs', []],
  ['tsx', ['--import', 'tsx']],
  ['ts-node', ['--require', 'ts-node/register']],
]);

/** Programs that start the app in another process, which health checks and switches could not reach. */
const supervisors = new Set(
  `nodemon node-dev ts-node-dev tsnd supervisor forever pm2 pm2-runtime pm2-docker concurrently npm-run-all
   run-s run-p dotenv dotenvx`.split(/\s+/),
);

/**
 * Parses a start command.
 * @param from source of the command, for messages
 * @throws AppError `unsupported_start`
 */
export function parseCommand(command: string, from: string): StartCommand {
  const refuse: Refuse = (why, hint) => unsupportedStart(command, from, why, hint);
  const { env, words } = takeAssignments(splitWords(command, refuse));
  const [program, ...rest] = words[0] === 'npx' ? words.slice(1) : words;
  if (program === undefined || program.startsWith('-')) throw refuse('it names no program');
  if (supervisors.has(program)) {
    throw refuse(
      `${program} starts the app in another process, and Sluice must start the app itself`,
      'Name the file of the app, as in "node server.js": Sluice restarts the app and logs its output.',
    );
  }
  const runtime = runtimes.get(program);
  if (runtime !== undefined) {
    const { options, file, args } = parseNodeArguments(rest, refuse);
    return { env, nodeArgs: [...runtime, ...options], program: { kind: 'file', name: file }, args };
  }
  if (program === 'npm' || program === 'pnpm' || program === 'yarn') {
    const { script, args } = parseScriptArguments(program, rest, refuse);
    return { env, nodeArgs: [], program: { kind: 'script', name: script }, args };
  }
  const name = program.replace(/^(?:\.\/)?node_modules\/\.bin\//, '');
  const kind = name.includes('/') || /\.[cm]?[jt]s$/.test(name) ? 'executable' : 'bin';
  return { env, nodeArgs: [], program: { kind, name }, args: rest };
}

/** Returns the error for a command that Sluice cannot run; its hint lists the commands that Sluice can run. */
export function unsupportedStart(command: string, from: string, why: string, hint?: string): AppError {
  return new AppError('unsupported_start', `${from} is \`${command}\`: ${why}`, {
    hint:
      hint ??
      'Write `[VAR=value …] node [options] file [arguments]`, or a program of a package in dependencies, such as `next start`, in sluice.json or in the scripts of package.json.',
  });
}

/** Characters that a shell interprets: several commands, pipes, redirections, substitution, wildcards. */
const shellOnly = /[|&;<>()$`*?[\]{}!\n]/;

/** Splits a command into words with the quoting of a POSIX shell: '…', "…" and \. */
function splitWords(command: string, refuse: Refuse): string[] {
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
      throw refuse(`it needs a shell, because it contains ${describe(character)}`);
    } else if (quote !== undefined) word += character;
    else if (character === '"' || character === "'") {
      quote = character;
      word ??= '';
    } else if (/\s/.test(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else word = (word ?? '') + character;
  }
  if (quote !== undefined) throw refuse(`it contains an unclosed ${quote}`);
  if (word !== undefined) words.push(word);
  return words;
}

function describe(character: string): string {
  if (character === '\n') return 'a line end';
  if (character === '$') return '"$" (variables such as PORT are in the environment of the app)';
  return `"${character}"`;
}

function takeAssignments(words: string[]): { env: Record<string, string>; words: string[] } {
  const env: Record<string, string> = {};
  for (const [at, word] of words.entries()) {
    const [, name, value = ''] = /^([A-Za-z_][A-Za-z0-9_]*)=(.*)$/s.exec(word) ?? [];
    if (name !== undefined) env[name] = value;
    else if (!['exec', 'env', 'cross-env'].includes(word)) return { env, words: words.slice(at) };
  }
  return { env, words: [] };
}

/** Parses the words after `npm`, `pnpm` or `yarn`. npm requires `run` before a script other than `start`. */
function parseScriptArguments(
  manager: 'npm' | 'pnpm' | 'yarn',
  words: string[],
  refuse: Refuse,
): { script: string; args: string[] } {
  const hasRun = words[0] === 'run' || words[0] === 'run-script';
  const [script, ...args] = hasRun ? words.slice(1) : words;
  const isAllowed = hasRun || script === 'start' || manager !== 'npm';
  if (script === undefined || script.startsWith('-') || !isAllowed) {
    throw refuse(`Sluice supports ${manager} only with "start", or with "run" and the name of a script`);
  }
  return { script, args: args[0] === '--' ? args.slice(1) : args };
}

/** Options of Node.js whose value may be the next word (source: `node --help`; options of V8 have no such value). */
const optionsWithValue = new Set(
  `-r --require --import --loader --experimental-loader -C --conditions --env-file --env-file-if-exists --title
   --icu-data-dir --openssl-config --max-http-header-size --inspect-port --disable-warning --unhandled-rejections
   --dns-result-order --diagnostic-dir --redirect-warnings --report-dir --report-directory --report-filename
   --secure-heap --tls-cipher-list --trace-event-categories --localstorage-file`.split(/\s+/),
);

/** Options of Node.js that run something other than a file, or run the file in another process. */
const optionsWithoutFile = new Set(
  '-e --eval -p --print -pe -c --check -i --interactive -h --help -v --version --run --test --watch --watch-path -'.split(
    ' ',
  ),
);

/** Parses the words after `node`. */
function parseNodeArguments(
  words: string[],
  refuse: Refuse,
): { options: string[]; file: string; args: string[] } {
  const options: string[] = [];
  const rest = [...words];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (optionsWithoutFile.has(word.split('=', 1)[0] ?? '')) {
      throw refuse(`with ${word}, Node.js does not run the file of the app in its own process`);
    }
    if (!word.startsWith('-')) return { options, file: word, args: rest };
    if (word === '--') {
      const [file, ...args] = rest;
      if (file === undefined) break;
      return { options, file, args };
    }
    options.push(word);
    if (optionsWithValue.has(word)) options.push(rest.shift() ?? '');
  }
  throw refuse('it names no file');
}
