import { AppError } from '../../errors/app-error.ts';

/** Text of a start command, and its source for messages, such as `"start" in package.json`. */
interface CommandSource {
  text: string;
  from: string;
}

/** Parts of a start command, as written: no file has been looked up yet. */
export interface StartCommand extends CommandSource {
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

type Parsed = Pick<StartCommand, 'program' | 'args'> & { nodeArgs?: string[] };

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
export function parseCommand(text: string, from: string): StartCommand {
  const source = { text, from };
  const { env, words } = takeAssignments(splitWords(source));
  const [program, ...rest] = words[0] === 'npx' ? words.slice(1) : words;
  if (program === undefined || program.startsWith('-')) throw unsupportedStart(source, 'it names no program');
  if (supervisors.has(program)) {
    throw unsupportedStart(
      source,
      `${program} starts the app in another process, and Sluice must start the app itself`,
      'Name the file of the app, as in "node server.js": Sluice restarts the app and logs its output.',
    );
  }
  return { ...source, env, nodeArgs: [], ...parseProgram(program, rest, source) };
}

function parseProgram(program: string, words: string[], source: CommandSource): Parsed {
  const runtime = runtimes.get(program);
  if (runtime !== undefined) return parseNodeArguments(runtime, words, source);
  if (['npm', 'pnpm', 'yarn'].includes(program)) return parseScriptArguments(program, words, source);
  const name = program.replace(/^(?:\.\/)?node_modules\/\.bin\//, '');
  const kind = name.includes('/') || /\.[cm]?[jt]s$/.test(name) ? 'executable' : 'bin';
  return { program: { kind, name }, args: words };
}

/** Returns the error for a command that Sluice cannot run; its hint lists the commands that Sluice can run. */
export function unsupportedStart({ text, from }: CommandSource, why: string, hint?: string): AppError {
  return new AppError('unsupported_start', `${from} is \`${text}\`: ${why}`, {
    hint:
      hint ??
      'Write `[VAR=value …] node [options] file [arguments]`, or a program of a package in dependencies, such as `next start`, in sluice.json or in the scripts of package.json.',
  });
}

/**
 * Words with the quoting of a POSIX shell, and the space between words. Plain text is without characters that a shell interprets:
 * several commands, pipes, redirections, substitution, wildcards.
 */
const wordsAndSpaces = /(?:'[^']*'|"(?:[^"\\$`]|\\.)*"|\\.|[^\s'"\\|&;<>()$`*?[\]{}!])+|[^\S\n]+/gsy;

/** Beginning of a word in double quotes up to the character that Sluice does not support, if there is one. */
const brokenQuote = /^"(?:[^"\\$`]|\\.)*([$`])/s;

function splitWords(source: CommandSource): string[] {
  const parts = source.text.match(wordsAndSpaces) ?? [];
  const rest = source.text.slice(parts.join('').length);
  const character = brokenQuote.exec(rest)?.[1] ?? rest.charAt(0);
  if (/['"]/.test(character)) throw unsupportedStart(source, `it contains an unclosed ${character}`);
  if (character !== '') {
    throw unsupportedStart(source, `it needs a shell, because it contains ${describe(character)}`);
  }
  return parts.filter((part) => part.trim() !== '').map(unquote);
}

function unquote(word: string): string {
  return word.replaceAll(
    /'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)/gs,
    (_all, single, double, escaped) => single ?? escaped ?? double.replaceAll(/\\(["\\$`])/g, '$1'),
  );
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
function parseScriptArguments(manager: string, words: string[], source: CommandSource): Parsed {
  const hasRun = words[0] === 'run' || words[0] === 'run-script';
  const [name, ...args] = hasRun ? words.slice(1) : words;
  const isAllowed = hasRun || name === 'start' || manager !== 'npm';
  if (name === undefined || name.startsWith('-') || !isAllowed) {
    const why = `Sluice supports ${manager} only with "start", or with "run" and the name of a script`;
    throw unsupportedStart(source, why);
  }
  return { program: { kind: 'script', name }, args: args[0] === '--' ? args.slice(1) : args };
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
function parseNodeArguments(runtime: string[], words: string[], source: CommandSource): Parsed {
  const isFile = (word: string, at: number) => {
    const before = words[at - 1] ?? '';
    return before === '--' || (!word.startsWith('-') && !optionsWithValue.has(before));
  };
  const at = words.findIndex(isFile);
  const options = at === -1 ? words : words.slice(0, at);
  const withoutFile = options.find((word) => optionsWithoutFile.has(word.split('=', 1)[0] ?? ''));
  if (withoutFile !== undefined) {
    const why = `with ${withoutFile}, Node.js does not run the file of the app in its own process`;
    throw unsupportedStart(source, why);
  }
  const name = words[at];
  if (name === undefined) throw unsupportedStart(source, 'it names no file');
  const nodeArgs = [...runtime, ...options.filter((word) => word !== '--')];
  return { nodeArgs, program: { kind: 'file', name }, args: words.slice(at + 1) };
}
