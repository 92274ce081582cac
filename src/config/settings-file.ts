import stripComments from 'strip-json-comments';
import * as v from 'valibot';
import { AppError, hasCode, systemCode } from '../errors/app-error.ts';
import { parseJson } from '../system/fs/files.ts';
import { isMissing, NotAFile, readAppText } from '../system/fs/read-file.ts';
import { counted } from '../system/text/format.ts';

/** Limit of the size of a settings file. A build may write a huge file, which must not fill our memory. */
export const maxSettingsBytes = 4 * 1024 ** 2;

/**
 * Returns the parsed content of a settings file; undefined if it does not exist.
 * @param name of the file in errors
 * @param within directory that the file must be in, for files of an app: see openFile
 * @throws AppError `invalid_settings` if it is not a file, is too large, or is not JSON
 */
export async function readJsonSettings(path: string, name: string, within?: string): Promise<unknown> {
  const text = await readSettingsText(path, name, within);
  return text === undefined ? undefined : parseJsonSettings(text, name);
}

/**
 * Returns the text of a settings file; undefined if it does not exist.
 * @throws AppError `invalid_settings` if it is not a file, is too large, or cannot be read
 */
export async function readSettingsText(
  path: string,
  name: string,
  within?: string,
): Promise<string | undefined> {
  try {
    return await readAppText(path, within, maxSettingsBytes);
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return undefined;
    if (error instanceof NotAFile) throw unreadable(name, error.message, error);
    if (isMissing(error)) throw unreadable(name, `cannot be read: ${systemCode(error)}`, error);
    throw error;
  }
}

/**
 * Parses the text of a settings file. A sluice.json may have comments and trailing commas, which no other program reads.
 * @throws AppError `invalid_settings` if it is not JSON
 */
export function parseJsonSettings(text: string, name: string): unknown {
  try {
    return parseJson(name === 'sluice.json' ? stripComments(text, { trailingCommas: true }) : text);
  } catch (error) {
    throw unreadable(name, `is not valid JSON: ${(error as Error).message}`, error);
  }
}

/** Returns the error for a settings file that cannot be read, and why. */
export function unreadable(name: string, why: string, cause?: unknown): AppError {
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
  throw invalidSettings(new Map([[source, result.issues]]));
}

/** Returns the error for faults, by the source of the faulty settings. */
export function invalidSettings(issues: ReadonlyMap<string, readonly v.BaseIssue<unknown>[]>): AppError {
  const texts = [...issues].map(([source, ofSource]) => {
    const faults = faultsOf(ofSource, true);
    const verb = source.includes(' and ') ? 'have' : 'has';
    return `${source} ${verb} ${counted(faults.length, 'fault')}:\n  ${faults.join('\n  ')}`;
  });
  return new AppError('invalid_settings', texts.join('\n'), {
    hint: 'docs/settings.md lists every setting with its default and unit.',
  });
}

/**
 * Returns a line for each fault, with the expected value. For a text or a group, returns the faults inside the group if the
 * value is a group.
 * @param showValues false if values are secret or their author is unknown
 */
export function faultsOf(issues: readonly v.BaseIssue<unknown>[], showValues = false, prefix = ''): string[] {
  return issues.flatMap((issue) => {
    const path = [prefix, v.getDotPath(issue)].filter(Boolean).join('.');
    const inside = (issue.issues ?? []).filter(({ path }) => path !== undefined);
    if (inside.length > 0) return faultsOf(inside, showValues, path);
    return `${path && `${path}: `}${faultOf(issue, showValues)}`;
  });
}

/** Describes a fault. A message of our schemas says what is expected; those of valibot begin with `Invalid`. */
function faultOf({ type, message, expected, received }: v.BaseIssue<unknown>, showValue: boolean): string {
  if (expected === 'never') return type === 'strict_object' ? 'unknown field' : message;
  if (type.endsWith('_object') && received === 'undefined') return 'required';
  const isOwn = !message.startsWith('Invalid');
  const isShown = showValue && !(isOwn && ['undefined', 'Object', 'Array'].includes(received));
  return `expected ${isOwn ? message : expected}${isShown ? `, got ${received}` : ''}`;
}
