/** Limits of the text of an answer that an error quotes. */
const most = { lines: 8, width: 200 };

/** Entities of HTML that pages with errors contain. */
const entities: Record<string, string> = {
  lt: '<',
  gt: '>',
  amp: '&',
  quot: '"',
  '#39': "'",
  '#x27': "'",
  nbsp: ' ',
};

/**
 * Returns the text of an answer to a health check, as lines to quote. Of a page of HTML, only the text remains.
 * @param lines beginning of the body
 */
export function textOfAnswer(lines: string[]): string[] {
  const body = lines.join('\n');
  const text = /^\s*<(?:!doctype|html|head|body|pre|h\d)\b/i.test(body) ? textOfPage(body) : body;
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .slice(0, most.lines)
    .map((line) => (line.length > most.width ? `${line.slice(0, most.width)}…` : line));
}

function textOfPage(page: string): string {
  return page
    .replace(/<(style|script|title)\b[^>]*>[\s\S]*?(?:<\/\1>|$)/gi, '')
    .replace(/<(?:br|\/p|\/h\d|\/div|\/li|\/tr|\/pre)\b[^>]*>/gi, '\n')
    .replace(/<[^<>]*(?:>|$)/g, '')
    .replace(/&(\w+|#\w+);/g, (whole, name: string) => entities[name] ?? whole);
}
