import type { Variable, Word } from '../../releases/words.ts';

/** Simple command of a shell: assignments and words. */
export interface SimpleCommand {
  /** as written */
  text: string;
  assignments: [name: string, value: Word][];
  words: Word[];
  /** clause on why only a shell can run the command, such as `it contains "|"`; null if Sluice can */
  needsShell: string | null;
}

/** Command line of a shell: commands that run one after the other, and the last of them. */
export interface CommandLine {
  before: (SimpleCommand & { mayFail: boolean })[];
  last: SimpleCommand;
  /** clause on why no shell can run the line, such as `it contains an unclosed "`; null if one can */
  fault: string | null;
}

/** Limits of a command line: its length in characters, and the number of its commands. */
const limits = { length: 16_384, commands: 200 };

/** Words that begin a construct of several commands, which Sluice leaves to a shell. */
const reserved = new Set('if then while until for case function select { } ! [['.split(' '));

/**
 * Parses a command line of a POSIX shell, in time proportional to its length: its author may be hostile. The result has the exact
 * meaning of the line, or `needsShell` is set.
 * @param known lines that have been parsed before, by text
 */
export function parseCommandLine(text: string, known?: Map<string, CommandLine>): CommandLine {
  const line = known?.get(text) ?? parse(text);
  known?.set(text, line);
  return line;
}

/** Returns all commands of a line. */
export function commandsOf({ before, last }: CommandLine): CommandLine['before'] {
  return [...before, { ...last, mayFail: false }];
}

/** Returns true for a line that only says what to run instead, such as `echo "Run npm run dev." && exit 1`. */
export function startsNothing(text: string): boolean {
  const {
    words: [program],
    needsShell,
  } = parse(text).last;
  return (
    needsShell === null &&
    typeof program === 'string' &&
    ['echo', 'exit', 'true', 'false', ':'].includes(program)
  );
}

function parse(text: string): CommandLine {
  if (text.length > limits.length) return broken(text, `it has more than ${limits.length} characters`);
  const scanner = new Scanner(text);
  const commands: { command: SimpleCommand; operator: string }[] = [];
  while (true) {
    const command = scanner.command();
    if ('fault' in command) return broken(text, command.fault);
    const [first] = command.words;
    if (typeof first === 'string' && reserved.has(first))
      return onlyShell(text, `it contains ${quote(first)}`);
    const operator = scanner.operator();
    const isEmpty = command.words.length === 0 && command.assignments.length === 0 && !command.needsShell;
    const isTerminator = operator === ';' || operator === '\n' || operator === '';
    if (isEmpty && !isTerminator) return broken(text, `it has no command before ${quote(operator)}`);
    if (!isEmpty) commands.push({ command, operator });
    if (commands.length > limits.commands)
      return broken(text, `it has more than ${limits.commands} commands`);
    if (operator === '') break;
  }
  return assemble(text, commands);
}

function onlyShell(text: string, needsShell: string): CommandLine {
  return { before: [], last: { text, assignments: [], words: [], needsShell }, fault: null };
}

function broken(text: string, fault: string): CommandLine {
  return { ...onlyShell(text, fault), fault };
}

/** Splits a list of commands into the last one and those before it. */
function assemble(text: string, commands: { command: SimpleCommand; operator: string }[]): CommandLine {
  const last = commands.at(-1);
  if (last === undefined) return broken(text, 'it is empty');
  if (last.operator === '&') last.operator = '';
  if (commands.some(({ operator }) => operator === '&')) {
    return onlyShell(text, 'it starts a process in the background with "&"');
  }
  const leading = commands.slice(0, -1);
  const previous = leading.at(-1)?.operator;
  if (previous === '|' || previous === '||') {
    // Commands before a pipe or a choice still run once if a ";" or "&&" separates them from it.
    const at = leading.findLastIndex(({ operator }) => operator !== '|' && operator !== '||');
    const isCondition = previous === '||' && leading[at]?.operator === '&&';
    if (isCondition) return onlyShell(text, 'it contains "||"');
    const rest = commands.slice(at + 1).map(({ command, operator }) => `${command.text} ${operator}`);
    const { words = [] } = commands[at + 1]?.command ?? {};
    const joined = { text: rest.join(' ').trim(), assignments: [], words };
    const why = `it contains ${quote(previous)}`;
    return {
      before: joinChoices(leading.slice(0, at + 1)),
      last: { ...joined, needsShell: why },
      fault: null,
    };
  }
  return { before: joinChoices(leading), last: last.command, fault: null };
}

/** Returns the commands of a list; those that a pipe or a choice connects are one command, which only a shell can run. */
function joinChoices(commands: { command: SimpleCommand; operator: string }[]): CommandLine['before'] {
  const joined: CommandLine['before'] = [];
  let open: string[] = [];
  for (const { command, operator } of commands) {
    if (operator === '|' || operator === '||') {
      open.push(command.text, operator);
      continue;
    }
    const mayFail = operator !== '&&';
    if (open.length === 0) joined.push({ ...command, mayFail });
    else {
      const text = [...open, command.text].join(' ');
      joined.push({ text, assignments: [], words: [], needsShell: 'it contains several commands', mayFail });
    }
    open = [];
  }
  return joined;
}

interface ScannedWord {
  parts: (string | Variable)[];
  /** true if a part was in quotes, so that the word exists even if it is empty */
  quoted: boolean;
  needsShell: string | null;
}

type Scanned = SimpleCommand | { fault: string };

/** Reads a command line from left to right. */
class Scanner {
  #at = 0;
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  /** Reads one command, up to an operator or the end. */
  command(): Scanned {
    this.#skipSpace();
    const start = this.#at;
    const command: SimpleCommand = { text: '', assignments: [], words: [], needsShell: null };
    const note = (why: string | null) => {
      command.needsShell ??= why;
    };
    while (this.#at < this.#text.length) {
      const rest = this.#text.slice(this.#at, this.#at + 8);
      const redirection = /^(?:&>>?|\d?(?:>>|>&|<&|<<|[<>]))/.exec(rest)?.[0];
      if (redirection !== undefined) {
        const toLog = /^2>&1(?![\w-])/.exec(rest)?.[0];
        this.#at += (toLog ?? redirection).length;
        // Sluice writes both outputs into the log.
        if (toLog === undefined) {
          note(`it contains ${quote(redirection.replace(/^\d/, ''))}`);
          this.#skipSpace();
          const target = this.#word();
          if ('fault' in target) return target;
        }
      } else if (/^[;&|\n]/.test(rest)) break;
      else if (rest.startsWith(')')) return { fault: 'it contains an unexpected ")"' };
      else if (rest.startsWith('(')) {
        note('it contains "("');
        const end = skipNested(this.#text, this.#at);
        if (end === null) return { fault: 'it contains an unclosed "("' };
        this.#at = end;
      } else {
        const word = this.#word();
        if ('fault' in word) return word;
        note(word.needsShell);
        addWord(command, word);
      }
      this.#skipSpace();
    }
    command.text = this.#text.slice(start, this.#at).trim();
    return command;
  }

  /** Reads an operator between commands; '' at the end. */
  operator(): string {
    const operator = /^(?:&&|\|\||\|&|[;&|\n])/.exec(this.#text.slice(this.#at, this.#at + 2))?.[0] ?? '';
    this.#at += operator.length;
    return operator === '|&' ? '|' : operator;
  }

  #skipSpace(): void {
    const space = /(?:[ \t\r]|\\\n)*(?:#[^\n]*)?/y;
    space.lastIndex = this.#at;
    this.#at += space.exec(this.#text)?.[0].length ?? 0;
  }

  #word(): ScannedWord | { fault: string } {
    const word: ScannedWord = { parts: [], quoted: false, needsShell: null };
    const start = this.#at;
    while (this.#at < this.#text.length) {
      const character = this.#text.charAt(this.#at);
      if (/[\s;&|()<>]/.test(character)) break;
      const fault = this.#part(word, character, start);
      if (fault !== null) return { fault };
    }
    return word;
  }

  /** Reads a part of a word outside of quotes. Returns a fault, or null. */
  #part(word: ScannedWord, character: string, start: number): string | null {
    if (character === "'" || character === '"') {
      word.quoted = true;
      return character === "'" ? this.#singleQuoted(word) : this.#doubleQuoted(word);
    }
    if (character === '$' || character === '`') return this.#expansion(word, false);
    if (character === '\\') {
      const next = this.#text.charAt(this.#at + 1);
      if (next !== '\n') addText(word, next || '\\');
      word.quoted = true;
      this.#at += 2;
      return null;
    }
    if (/[*?]/.test(character) || (character === '[' && this.#text.indexOf(']', this.#at) !== -1)) {
      word.needsShell ??= `it contains ${quote(character)}`;
    }
    if (character === '~' && this.#at === start) word.needsShell ??= 'it contains "~"';
    addText(word, character);
    this.#at += 1;
    return null;
  }

  #singleQuoted(word: ScannedWord): string | null {
    const end = this.#text.indexOf("'", this.#at + 1);
    if (end === -1) return "it contains an unclosed '";
    addText(word, this.#text.slice(this.#at + 1, end));
    this.#at = end + 1;
    return null;
  }

  #doubleQuoted(word: ScannedWord): string | null {
    this.#at += 1;
    addText(word, '');
    while (this.#at < this.#text.length) {
      const character = this.#text.charAt(this.#at);
      if (character === '"') {
        this.#at += 1;
        return null;
      }
      if (character === '$' || character === '`') {
        const fault = this.#expansion(word, true);
        if (fault !== null) return fault;
        continue;
      }
      const escaped = character === '\\' ? this.#text.charAt(this.#at + 1) : '';
      if (escaped !== '' && '"\\$`\n'.includes(escaped)) {
        addText(word, escaped === '\n' ? '' : escaped);
        this.#at += 2;
      } else {
        addText(word, character);
        this.#at += 1;
      }
    }
    return 'it contains an unclosed "';
  }

  /** Reads a variable, or skips a substitution of a command. */
  #expansion(word: ScannedWord, quoted: boolean): string | null {
    const rest = this.#text.slice(this.#at);
    const match =
      /^\$(?:(?<plain>[A-Za-z_]\w*)|\{(?<braced>[A-Za-z_]\w*)(?::?[-=](?<fallback>[^"'`$\\{}]*))?\})/.exec(
        rest,
      );
    if (match !== null) {
      const { plain, braced, fallback } = match.groups ?? {};
      const variable: Variable = { variable: plain ?? braced ?? '' };
      if (fallback !== undefined) variable.default = fallback;
      if (!quoted) variable.split = true;
      word.parts.push(variable);
      this.#at += match[0].length;
      return null;
    }
    const opening = /^(?:\$[({]|`)/.exec(rest)?.[0];
    if (opening === undefined) {
      if (/^\$[\d@*#?$!-]/.test(rest)) word.needsShell ??= `it contains ${quote(rest.slice(0, 2))}`;
      addText(word, '$');
      this.#at += 1;
      return null;
    }
    word.needsShell ??= `it contains ${quote(opening)}`;
    const end = skipNested(this.#text, this.#at + opening.length - 1);
    if (end === null) return `it contains an unclosed ${quote(opening)}`;
    this.#at = end;
    return null;
  }
}

function addText(word: ScannedWord, text: string): void {
  const last = word.parts.at(-1);
  if (typeof last === 'string') word.parts[word.parts.length - 1] = last + text;
  else word.parts.push(text);
}

function addWord(command: SimpleCommand, { parts, quoted }: ScannedWord): void {
  const [first = ''] = parts;
  const name = typeof first === 'string' ? /^([A-Za-z_]\w*)=/.exec(first)?.[1] : undefined;
  if (command.words.length === 0 && name !== undefined) {
    const value = [(first as string).slice(name.length + 1), ...parts.slice(1)];
    command.assignments.push([name, simplify(value.filter((part) => part !== ''))]);
  } else if (parts.length > 0 || quoted) command.words.push(simplify(parts));
}

/** Returns a word without variables as a text. */
function simplify(parts: (string | Variable)[]): Word {
  const texts = parts.filter((part) => typeof part === 'string');
  return texts.length === parts.length ? texts.join('') : parts;
}

const closing: Record<string, string> = { '(': ')', '{': '}', '`': '`', '"': '"', "'": "'" };

/** Returns the position after a bracket, quote or backtick at `at` and its counterpart; null if it has none. */
function skipNested(text: string, at: number): number | null {
  const open = [closing[text.charAt(at)]];
  for (let position = at + 1; position < text.length; position += 1) {
    const character = text.charAt(position);
    const expected = open.at(-1);
    if (character === '\\' && expected !== "'") position += 1;
    else if (character === expected) {
      open.pop();
      if (open.length === 0) return position + 1;
    } else if (opensNested(character, expected, text.charAt(position - 1))) open.push(closing[character]);
  }
  return null;
}

function opensNested(character: string, expected: string | undefined, previous: string): boolean {
  if (expected === "'" || closing[character] === undefined) return false;
  if (character === '{' || character === '(') return expected !== '"' || previous === '$';
  return expected !== '"' || character === '`';
}

function quote(text: string): string {
  return text === '\n' ? 'a line end' : `"${text}"`;
}
