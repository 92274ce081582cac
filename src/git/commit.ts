/** A commit as a release remembers it. */
export interface Commit {
  /** its full hash */
  id: string;
  /** name of its author */
  author: string;
  /** first line and what follows it, cut where it is very long */
  message: string;
}

/** The longest message that is kept, in characters. */
const maxMessage = 2000;

/** Author and message as git has printed them for `commitFormat`. */
export function parseCommits(output: string): Commit[] {
  return output
    .split('\0\0')
    .map((record) => record.split('\0'))
    .filter(([id]) => id?.trim())
    .map(([id = '', author = '', message = '']) => ({
      id: id.trim(),
      author: printable(author),
      message: printable(message.trim()).slice(0, maxMessage),
    }));
}

/** Without what a terminal would act upon: whoever reads it has not written it. Line ends and tabs stay. */
export function printable(text: string): string {
  return text.replace(/[^\P{Cc}\n\t]/gu, '');
}

/** For `git log`: fields end with a NUL, and a record with a second one; neither can stand in a message. */
export const commitFormat = { whole: '%H%x00%an%x00%B%x00%x00', subject: '%H%x00%an%x00%s%x00%x00' };
