/** Text in quotes, the first group, or comment. A comment without an end reaches to the end of the text. */
const textOrComment = /('[^'\n]*'|"[^"\n]*"|`[^`]*`)|\/\*[\s\S]*?(?:\*\/|$)|\/\/.*/g;

/** Returns a JavaScript text with spaces in place of its comments: lines and positions stay. */
export function blankComments(text: string): string {
  return text.replaceAll(textOrComment, (match, quoted) => quoted ?? match.replaceAll(/[^\n]/g, ' '));
}
