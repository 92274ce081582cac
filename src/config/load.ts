import { join } from 'node:path';
import * as v from 'valibot';
import { AppError } from '../errors/app-error.ts';
import { counted } from '../system/text/listing.ts';
import { type AppSettings, appSettingsSchema } from './app-settings.ts';
import { readJsonSettings } from './json-settings.ts';
import { type ServerSettings, serverSettingsSchema } from './server-settings.ts';

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

/** Gives the parsed content of a file at the top of a tree; undefined where there is none. */
type ReadTop = (name: string) => Promise<unknown>;

/** Reads from a directory. */
export function topOf(directory: string): ReadTop {
  return (name) => readJsonSettings(join(directory, name), name, directory);
}

/**
 * The app's own settings from its tree: `sluice.json`, else `"sluice"` in package.json, else the defaults.
 * @throws AppError `invalid_settings`
 */
export async function loadAppSettings(read: ReadTop): Promise<AppSettings> {
  const { value, source } = await readAppSettings(read);
  return parseSettings(appSettingsSchema, value, source);
}

/** The same as they are written, without defaults and checks, and where. @throws AppError `invalid_settings` */
export async function readAppSettings(read: ReadTop): Promise<{ value: unknown; source: string }> {
  const own = await read('sluice.json');
  if (own !== undefined) return { value: own, source: 'sluice.json' };
  const manifest = await read('package.json');
  const embedded = (manifest as { sluice?: unknown } | null | undefined)?.sluice;
  return { value: embedded ?? {}, source: '"sluice" in package.json' };
}

/** @throws AppError `invalid_settings` */
export async function loadServerSettings(path: string): Promise<ServerSettings> {
  return parseSettings(serverSettingsSchema, (await readJsonSettings(path, path)) ?? {}, path);
}
