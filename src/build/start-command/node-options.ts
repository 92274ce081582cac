import type { AppError } from '../../errors/app-error.ts';

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
