import { blankComments } from '../build/start-command/comments.ts';
import { secretsAmong } from '../config/app/variables.ts';

/** File of PM2. */
export interface Pm2File {
  /** without comments */
  text: string;
  isYaml: boolean;
  /** true if it may have variables for other environments than `production` */
  hasEnvironments: boolean;
}

/** Longest value that is looked for in a file. */
const longestValue = 1000;

export function pm2File(name: string, source: string): Pm2File {
  const isYaml = /\.ya?ml$/.test(name);
  return {
    text: isYaml ? source.replaceAll(/(^|\s)#.*/g, '$1') : blankComments(source),
    isYaml,
    hasEnvironments: /\benv_(?!prod)/.test(source),
  };
}

/** Returns true if a file names an app: in quotes, or in YAML as `name: NAME`. */
export function namesApp({ text, isYaml }: Pm2File, app: string): boolean {
  if (quotedIn(text, app).length > 0) return true;
  const bare = isYaml ? [...text.matchAll(/^[ \t-]*name:(.*)$/gm)] : [];
  return bare.some(([, value]) => value?.trim() === app);
}

/** Returns the places of a word in quotes. */
function quotedIn(text: string, word: string): number[] {
  const places: number[] = [];
  for (const quote of ['"', "'", '`']) {
    const quoted = `${quote}${word}${quote}`;
    for (let at = text.indexOf(quoted); at !== -1; at = text.indexOf(quoted, at + 1)) places.push(at);
  }
  return places;
}

/**
 * Returns true if a file surely sets a variable of an app to this text in the environment `production`. In doubt, it returns false:
 * a variable that Sluice has besides is harmless, and one that is lost is not.
 */
export function isSetIn(file: Pm2File, app: string, name: string, value: string): boolean {
  if (value === '' || value.length > longestValue || /[\\\n\r]/.test(value)) return false;
  if (secretsAmong({ [name]: value }).length > 0) return false;
  // The text may be that of another environment.
  if (file.hasEnvironments) return false;
  const found = valuesOf(partOf(file, app), name, value);
  return found.length > 0 && found.every((isSame) => isSame);
}

/** Returns for each place where a text sets a variable whether it has this value. */
function valuesOf(text: string, name: string, value: string): boolean[] {
  const found: boolean[] = [];
  const colon = /["'`]?\s*:\s*(["'`]?)/y;
  const end = /\s*?(?:[,}\n]|$)/y;
  for (let at = text.indexOf(name); at !== -1; at = text.indexOf(name, at + name.length)) {
    colon.lastIndex = at + name.length;
    const match = /[\w$]/.test(text[at - 1] ?? '') ? null : colon.exec(text);
    if (match === null) continue;
    const whole = `${value}${match[1]}`;
    const from = colon.lastIndex;
    end.lastIndex = from + whole.length;
    found.push(text.startsWith(whole, from) && end.test(text));
  }
  return found;
}

/** Returns the part of a file that is about an app: all of it if it has one app, else the object with the name; empty if that is not certain. */
function partOf(file: Pm2File, app: string): string {
  const { text, isYaml } = file;
  if ([...text.matchAll(/\bname["'`]?\s*:/g)].length < 2) return text;
  const isName = (at: number) => /\bname["'`]?\s*:\s*$/.test(text.slice(Math.max(0, at - 100), at));
  const [place, ...others] = quotedIn(text, app).filter(isName);
  if (isYaml || place === undefined || others.length > 0) return '';
  // Braces in texts do not count.
  const marks = text.replaceAll(/'[^'\n]*'|"[^"\n]*"|`[^`]*`/g, (quoted) => ' '.repeat(quoted.length));
  const start = unbalanced(marks, place, -1);
  return start === -1 ? '' : text.slice(start, unbalanced(marks, place, 1));
}

/** Finds the brace that opens (direction -1) or closes (1) the object around a place; -1 if there is none. */
function unbalanced(text: string, place: number, direction: 1 | -1): number {
  const [inner, outer] = direction === 1 ? ['{', '}'] : ['}', '{'];
  let depth = 0;
  for (let at = place; at >= 0 && at < text.length; at += direction) {
    if (text[at] === inner) depth += 1;
    if (text[at] !== outer) continue;
    if (depth === 0) return at;
    depth -= 1;
  }
  return -1;
}
