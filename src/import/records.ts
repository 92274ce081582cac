import { readdir, rm, stat } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import * as v from 'valibot';
import { parseSettings } from '../config/settings-file.ts';
import { AppError } from '../errors/app-error.ts';
import { ifThere } from '../system/fs/exists.ts';
import { ensurePrivateDirectory, readJson, writeJsonAtomic } from '../system/fs/files.ts';

const recordSchema = v.strictObject({
  /** user of PM2, and its directory */
  user: v.string(),
  home: v.string(),
  /** ids and names of the processes in PM2 */
  ids: v.array(v.number()),
  names: v.array(v.string()),
  /** 0 for an app without a port */
  port: v.number(),
  /** address on which PM2 had the port; undefined if the app did not take the port itself */
  host: v.optional(v.string()),
  /** files of nginx that were changed; empty if the app took the port itself */
  files: v.array(v.strictObject({ path: v.string(), before: v.string(), after: v.string() })),
  takenAt: v.string(),
});

/** Record of a takeover, from which the traffic of an app can return to PM2. */
export type TakeoverRecord = v.InferOutput<typeof recordSchema>;

/** Directory of the user of this process: the home of Sluice belongs to its server, which root does not trust. */
function directory(): string {
  return join(process.env['XDG_CONFIG_HOME'] || join(userInfo().homedir, '.config'), 'sluice/import');
}

const pathOf = (app: string) => join(directory(), `${app}.json`);

/** Writes the record of a takeover, before the takeover begins. */
export async function saveRecord(app: string, record: TakeoverRecord): Promise<string> {
  await ensurePrivateDirectory(directory());
  await writeJsonAtomic(pathOf(app), record, 0o600);
  return pathOf(app);
}

/** Returns the record of a takeover; undefined if there is none. */
export async function findRecord(app: string): Promise<TakeoverRecord | undefined> {
  const path = pathOf(app);
  const value = await readJson(path);
  // Files of nginx get the texts of the record, so no other user may have written it.
  const isOwn = value !== undefined && (await stat(path)).uid === process.geteuid?.();
  return isOwn ? parseSettings(recordSchema, value, path) : undefined;
}

/** @throws AppError `takeover_failed` if there is no record */
export async function loadRecord(app: string): Promise<TakeoverRecord> {
  const record = await findRecord(app);
  if (record !== undefined) return record;
  throw new AppError('takeover_failed', `there is no record of a takeover of ${app}`, {
    hint: `\`sluice import pm2 --apply\` writes ${pathOf(app)}. Run --undo as the same user.`,
  });
}

/** Returns all records, by the names of their apps in Sluice. */
export async function listRecords(): Promise<Map<string, TakeoverRecord>> {
  const files = (await ifThere(readdir(directory()))) ?? [];
  const apps = files.filter((file) => file.endsWith('.json')).map((file) => file.slice(0, -'.json'.length));
  const records = await Promise.all(apps.map(async (app) => [app, await findRecord(app)] as const));
  return new Map(records.flatMap(([app, record]) => (record === undefined ? [] : [[app, record]])));
}

export async function removeRecord(app: string): Promise<void> {
  await rm(pathOf(app), { force: true });
}
