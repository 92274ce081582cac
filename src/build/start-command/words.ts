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
