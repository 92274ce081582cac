import { withoutControls } from '../system/text/printable.ts';
/** Commit as a release records it. */
export interface Commit {
  /** full hash */
  id: string;
  /** name of the author */
  author: string;
  /** whole message, cut at `maxMessage` */
  message: string;
}

/** Limit of a recorded message, in characters. */
export const maxMessage = 2000;
/** Limit of a recorded name, in characters. */
const maxAuthor = 200;

/** Formats for `git log`. A NUL ends each field, since no field contains one. */
export const commitFormat = { whole: '%H%x00%an%x00%B%x00', subject: '%H%x00%an%x00%s%x00' };
const fieldCount = 3;

/** Parses what git prints for `commitFormat`. */
export function parseCommits(output: string): Commit[] {
  const fields = output.split('\0');
  const commits: Commit[] = [];
  // After the last NUL comes only the end of the last line.
  for (let at = 0; at + fieldCount < fields.length; at += fieldCount) {
    const [id = '', author = '', message = ''] = fields.slice(at, at + fieldCount);
    commits.push({
      id: id.trim(),
      author: withoutControls(author).slice(0, maxAuthor),
      message: withoutControls(message.trim()).slice(0, maxMessage),
    });
  }
  return commits;
}
