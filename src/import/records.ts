import { rm, stat } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import * as v from 'valibot';
import { parseSettings } from '../config/settings-file.ts';
import { AppError } from '../errors/app-error.ts';
import { ensurePrivateDirectory, readJson, writeJsonAtomic } from '../system/fs/files.ts';

const recordSchema = v.strictObject({
  /** user of PM2, and its directory */
  user: v.string(),
  home: v.string(),
  /** ids and names of the processes in PM2 */
  ids: v.array(v.number()),
  names: v.array(v.string()),
  port: v.number(),
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

/** @throws AppError `takeover_failed` if there is no record */
export async function loadRecord(app: string): Promise<TakeoverRecord> {
  const path = pathOf(app);
  const value = await readJson(path);
  // Files of nginx get the texts of the record, so no other user may have written it.
  if (value !== undefined && (await stat(path)).uid === process.geteuid?.())
    return parseSettings(recordSchema, value, path);
  throw new AppError('takeover_failed', `there is no record of a takeover of ${app}`, {
    hint: `\`sluice import pm2 --apply\` writes ${path}. Run --undo as the same user.`,
  });
}

export async function removeRecord(app: string): Promise<void> {
  await rm(pathOf(app), { force: true });
}
