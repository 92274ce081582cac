/** A commit as a release remembers it. */
export interface Commit {
  /** its full hash */
  id: string;
  /** name of its author */
  author: string;
  /** first line and what follows it, cut where it is very long */
  message: string;
}

/** The longest message, and the longest name, that is kept, in characters. */
export const maxMessage = 2000;
const maxAuthor = 200;

/** Author and message as git has printed them for `commitFormat`. */
export function parseCommits(output: string): Commit[] {
  const fields = output.split('\0');
  const commits: Commit[] = [];
  // What follows the last NUL is the end of the last line.
  for (let at = 0; at + fieldCount < fields.length; at += fieldCount) {
    const [id = '', author = '', message = ''] = fields.slice(at, at + fieldCount);
    commits.push({
      id: id.trim(),
      author: printable(author).slice(0, maxAuthor),
      message: printable(message.trim()).slice(0, maxMessage),
    });
  }
  return commits;
}

/** Without what a terminal would act upon: whoever reads it has not written it. Line ends and tabs stay. */
export function printable(text: string): string {
  return text.replace(/[^\P{Cc}\n\t]/gu, '');
}

/** For `git log`: each field ends with a NUL, which cannot stand in one. */
export const commitFormat = { whole: '%H%x00%an%x00%B%x00', subject: '%H%x00%an%x00%s%x00' };
const fieldCount = 3;
