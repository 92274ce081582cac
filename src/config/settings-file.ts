import * as v from 'valibot';
import { AppError, systemCode } from '../errors/app-error.ts';
import { parseJson } from '../system/fs/files.ts';
import { NotAFile, openAppFile, readText } from '../system/fs/read-file.ts';
import { counted, formatBytes } from '../system/text/format.ts';

/** Limit of the size of a settings file. A build may write a huge file, which must not fill our memory. */
export const maxSettingsBytes = 4 * 1024 ** 2;

/**
 * Returns the parsed content of a settings file; undefined if it does not exist.
 * @param name of the file in errors
 * @param within directory that the file must be in, for files of an app: see openFile
 * @throws AppError `invalid_settings` if it is not a file, is too large, or is not JSON
 */
export async function readJsonSettings(path: string, name: string, within?: string): Promise<unknown> {
  try {
    await using file = await openAppFile(path, within);
    const { size } = await file.stat();
    if (size > maxSettingsBytes) throw tooLarge(name, size);
    return parseJsonSettings(await readText(file), name);
  } catch (error) {
    if (error instanceof NotAFile) throw unreadable(name, error.message, error);
    const code = systemCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    if (code === 'ELOOP' || code === 'EACCES') throw unreadable(name, `cannot be read: ${code}`, error);
    throw error;
  }
}

/** Parses the text of a settings file. @throws AppError `invalid_settings` if it is not JSON */
export function parseJsonSettings(text: string, name: string): unknown {
  try {
    return parseJson(text);
  } catch (error) {
    throw unreadable(name, `is not valid JSON: ${(error as Error).message}`, error);
  }
}

/** @param size in bytes */
export function tooLarge(name: string, size: number): AppError {
  return unreadable(name, `is ${formatBytes(size)}, more than the limit of ${formatBytes(maxSettingsBytes)}`);
}

function unreadable(name: string, why: string, cause?: unknown): AppError {
  return new AppError('invalid_settings', `${name} ${why}`, { cause });
}

/**
 * Parses a value with a schema.
 * @param source of the value in errors
 * @throws AppError `invalid_settings` that lists every fault with its setting and the expected value
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
    { hint: 'docs/settings.md lists every setting with its default and unit.' },
  );
}

/**
 * Returns a line for each fault. For a text or a group, returns the faults inside the group if the value is a group. Skips
 * unknown settings, because valibot reports only the first of each group: see `unknownSettings`.
 */
function describe(issue: v.BaseIssue<unknown>, prefix = ''): string[] {
  if (issue.type === 'strict_object' && issue.expected === 'never') return [];
  const setting = [prefix, v.getDotPath(issue)].filter(Boolean).join('.');
  const inside = (issue.issues ?? []).filter(({ path }) => path !== undefined);
  if (inside.length > 0) return inside.flatMap((inner) => describe(inner, setting));
  return [`${setting === '' ? 'the file' : setting}: ${expectation(issue)}`];
}

function expectation({ type, message, expected, received }: v.BaseIssue<unknown>): string {
  if (type === 'strict_object' && received === 'undefined') return 'required';
  const isGroup = received === undefined || received === 'Object' || received === 'Array';
  if (message.startsWith('Invalid')) return `expected ${expected}, got ${received}`;
  return isGroup ? `expected ${message}` : `expected ${message}, got ${received}`;
}

/** Returns a line for each unknown setting of all groups, with a similar known setting if there is one. */
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
    return [`${prefix}${name}: unknown setting${suggestion(name, Object.keys(entries))}`];
  });
}

/** Properties of the kinds of schema that contain other schemas. */
interface Containers {
  /** of an optional schema */
  wrapped: v.GenericSchema;
  /** of a union */
  options: v.GenericSchema[];
  /** of an array */
  item: v.GenericSchema;
  /** of a record */
  value: v.GenericSchema;
  entries: Record<string, v.GenericSchema>;
}

/** Returns ` (did you mean "workers"?)` for `worker`. */
function suggestion(name: string, known: string[]): string {
  const written = name.toLowerCase();
  const like = known.find((each) => {
    const other = each.toLowerCase();
    return written.length > 2 && (other.startsWith(written) || written.startsWith(other));
  });
  return like === undefined ? '' : ` (did you mean "${like}"?)`;
}
