import * as v from 'valibot';
import { AppError, systemCode } from '../errors/app-error.ts';
import { parseJson } from '../system/fs/files.ts';
import { NoFile, openFile, readText } from '../system/fs/read-file.ts';
import { counted, formatBytes } from '../system/text/format.ts';

/**
 * Checks a value against a schema.
 * @throws AppError `invalid_settings` that lists every fault with its place and what would be right
 */
export function parseSettings<Schema extends v.GenericSchema>(
  schema: Schema,
  value: unknown,
  source: string,
): v.InferOutput<Schema> {
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  const issues = result.issues.flatMap((issue) => describe(issue));
  const faults = [...issues, ...unknownSettings(schema, value)];
  throw new AppError(
    'invalid_settings',
    `${source} has ${counted(faults.length, 'fault')}:\n  ${faults.join('\n  ')}`,
    {
      hint: 'docs/settings.md lists every setting with its default and unit.',
    },
  );
}

/**
 * A line each. Of what may be a text or a group, it is the faults inside the group that help, where one was written. Of
 * settings that do not exist valibot tells only the first in a group: see `unknownSettings`.
 */
function describe(issue: v.BaseIssue<unknown>, prefix = ''): string[] {
  if (issue.type === 'strict_object' && issue.expected === 'never') return [];
  const place = [prefix, v.getDotPath(issue)].filter(Boolean).join('.');
  const inside = (issue.issues ?? []).filter(({ path }) => path !== undefined);
  if (inside.length > 0) return inside.flatMap((inner) => describe(inner, place));
  return [`${place === '' ? 'the whole' : place}: ${rightFor(issue)}`];
}

function rightFor({ type, message, expected, received }: v.BaseIssue<unknown>): string {
  const isMissing = type === 'strict_object' && received === 'undefined';
  if (isMissing) return 'it must be there';
  const right = message.startsWith('Invalid') ? `${expected}` : message;
  // What a group or a list is as a whole says nothing.
  return ['Object', 'Array'].includes(received ?? 'Object') && right === message
    ? right
    : `${right}, not ${received}`;
}

/** Settings that do not exist, those of every group, with the one that was meant where that is plain. */
function unknownSettings(schema: v.GenericSchema, value: unknown, prefix = ''): string[] {
  if (typeof value !== 'object' || value === null) return [];
  const { wrapped, options, item, value: each } = schema as Partial<Containers>;
  const all = Object.entries(value);
  const inside = (inner: v.GenericSchema) =>
    all.flatMap(([name, part]) => unknownSettings(inner, part, `${prefix}${name}.`));
  if (wrapped !== undefined) return unknownSettings(wrapped, value, prefix);
  if (schema.type === 'union')
    return (options ?? []).flatMap((option) => unknownSettings(option, value, prefix));
  if (schema.type === 'array' && item !== undefined) return inside(item);
  if (schema.type === 'record' && each !== undefined) return inside(each);
  if (schema.type !== 'strict_object') return [];
  const { entries } = schema as unknown as Containers;
  return all.flatMap(([name, part]) => {
    const known = Object.hasOwn(entries, name) ? entries[name] : undefined;
    if (known !== undefined) return unknownSettings(known, part, `${prefix}${name}.`);
    return [`${prefix}${name}: there is no such setting${meant(name, Object.keys(entries))}`];
  });
}

/** Where the kinds of schema that hold others have them. */
interface Containers {
  /** of what is optional */
  wrapped: v.GenericSchema;
  /** of a union */
  options: v.GenericSchema[];
  /** of an array */
  item: v.GenericSchema;
  /** of a record */
  value: v.GenericSchema;
  entries: Record<string, v.GenericSchema>;
}

/** ` (did you mean "workers"?)` for `worker` */
function meant(name: string, known: string[]): string {
  const written = name.toLowerCase();
  const like = known.find((each) => {
    const other = each.toLowerCase();
    return written.length > 2 && (other.startsWith(written) || written.startsWith(other));
  });
  return like === undefined ? '' : ` (did you mean "${like}"?)`;
}

/** No settings file is near as large; one that a build has run away with must not fill our memory. */
export const maxSettingsBytes = 4 * 1024 ** 2;

/**
 * The parsed content of a file that people write, or undefined where there is none.
 * @param name what to call it in an error
 * @param within see openFile: of what an app may have put there
 * @throws AppError `invalid_settings` where it is no file, is too large, or is no JSON
 */
export async function readJsonSettings(path: string, name: string, within?: string): Promise<unknown> {
  try {
    await using file = await openFile(path, within);
    const { size } = await file.stat();
    if (size > maxSettingsBytes) throw tooLarge(name, size);
    return parseJsonSettings(await readText(file), name);
  } catch (error) {
    if (error instanceof NoFile) throw unreadable(name, error.message, error);
    const code = systemCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    if (code === 'ELOOP' || code === 'EACCES') throw unreadable(name, `cannot be read: ${code}`, error);
    throw error;
  }
}

/** The same of text that is at hand already. @throws AppError `invalid_settings` where it is no JSON */
export function parseJsonSettings(text: string, name: string): unknown {
  try {
    return parseJson(text);
  } catch (error) {
    throw unreadable(name, `is not valid JSON: ${(error as Error).message}`, error);
  }
}

/** @param size in bytes */
export function tooLarge(name: string, size: number): AppError {
  return unreadable(name, `is ${formatBytes(size)}, and at most ${formatBytes(maxSettingsBytes)} are read`);
}

function unreadable(name: string, why: string, cause?: unknown): AppError {
  return new AppError('invalid_settings', `${name} ${why}`, { cause });
}
