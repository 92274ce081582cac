import { join } from 'node:path';
import * as v from 'valibot';
import { AppError } from '../errors/app-error.ts';
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
  // Of what does not exist, valibot tells the first in each group only.
  const issues = result.issues.filter((issue) => !isUnknownKey(issue)).map(describe);
  const faults = [...issues, ...unknownSettings(schema, value)];
  throw new AppError(
    'invalid_settings',
    `${source} has ${faults.length} fault${faults.length === 1 ? '' : 's'}:\n  ${faults.join('\n  ')}`,
    {
      hint: 'docs/settings.md lists every setting with its default and unit.',
    },
  );
}

function isUnknownKey({ type, expected }: v.BaseIssue<unknown>): boolean {
  return type === 'strict_object' && expected === 'never';
}

function describe(issue: v.BaseIssue<unknown>): string {
  const place = v.getDotPath(issue) ?? 'the whole';
  const received = issue.received === undefined ? '' : `, not ${issue.received}`;
  return `${place}: ${issue.message.startsWith('Invalid') ? `${issue.expected}` : issue.message}${received}`;
}

/** Settings that do not exist, those of every group, with the one that was meant where that is plain. */
function unknownSettings(schema: v.GenericSchema, value: unknown, prefix = ''): string[] {
  if ('wrapped' in schema) return unknownSettings(schema.wrapped as v.GenericSchema, value, prefix);
  if (schema.type !== 'strict_object' || typeof value !== 'object' || value === null) return [];
  const { entries } = schema as unknown as { entries: Record<string, v.GenericSchema> };
  return Object.entries(value).flatMap(([name, inner]) => {
    const known = Object.hasOwn(entries, name) ? entries[name] : undefined;
    if (known !== undefined) return unknownSettings(known, inner, `${prefix}${name}.`);
    return [`${prefix}${name}: there is no such setting${meant(name, Object.keys(entries))}`];
  });
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
export type ReadTop = (name: string) => Promise<unknown>;

/** Reads from a directory. */
export function topOf(directory: string): ReadTop {
  return (name) => readJsonSettings(join(directory, name), name);
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
