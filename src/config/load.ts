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
  const faults = result.issues.map((issue) => {
    const place = v.getDotPath(issue) ?? 'the whole';
    if (issue.type === 'strict_object') return `${place}: there is no such setting`;
    const received = issue.received === undefined ? '' : `, not ${issue.received}`;
    return `${place}: ${issue.message.startsWith('Invalid') ? `${issue.expected}` : issue.message}${received}`;
  });
  throw new AppError(
    'invalid_settings',
    `${source} has ${faults.length} fault${faults.length === 1 ? '' : 's'}:\n  ${faults.join('\n  ')}`,
    {
      hint: 'docs/settings.md lists every setting with its default and unit.',
    },
  );
}

/**
 * The app's own settings from its tree: `sluice.json`, else `"sluice"` in package.json, else the defaults.
 * @throws AppError `invalid_settings`
 */
export async function loadAppSettings(directory: string): Promise<AppSettings> {
  const own = await readJsonSettings(join(directory, 'sluice.json'), 'sluice.json');
  if (own !== undefined) return parseSettings(appSettingsSchema, own, 'sluice.json');
  const manifest = await readJsonSettings(join(directory, 'package.json'), 'package.json');
  const embedded = (manifest as { sluice?: unknown } | null | undefined)?.sluice;
  return parseSettings(appSettingsSchema, embedded ?? {}, '"sluice" in package.json');
}

/** @throws AppError `invalid_settings` */
export async function loadServerSettings(path: string): Promise<ServerSettings> {
  return parseSettings(serverSettingsSchema, (await readJsonSettings(path, path)) ?? {}, path);
}
