import { statSync } from 'node:fs';
import { readdir, rm, stat } from 'node:fs/promises';
import { homedir, userInfo } from 'node:os';
import { join } from 'node:path';
import * as v from 'valibot';
import { parseSettings } from '../config/settings-file.ts';
import { AppError } from '../errors/app-error.ts';
import { ifThere } from '../system/fs/exists.ts';
import { ensurePrivateDirectory, readJson, writeJsonAtomic } from '../system/fs/files.ts';
import { tryLock } from '../system/fs/lock.ts';

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
  /** when the traffic returned to PM2; undefined if it has not */
  undoneAt: v.optional(v.string()),
});

/** Record of a takeover, from which the traffic of an app can return to PM2. */
export type TakeoverRecord = v.InferOutput<typeof recordSchema>;

/** Directory of the user of this process: the home of Sluice belongs to its server, which root does not trust. */
function directory(): string {
  return join(process.env['XDG_CONFIG_HOME'] || join(ownHome(), '.config'), 'sluice/import');
}

/** Returns HOME, or the home in /etc/passwd if HOME belongs to another user, as after some `sudo`: that user could replace files. */
function ownHome(): string {
  const home = homedir();
  const isOwn = statSync(home, { throwIfNoEntry: false })?.uid === process.geteuid?.();
  return isOwn ? home : userInfo().homedir;
}

/**
 * Takes the lock for takeovers and their return, because two apps may share a file of nginx.
 * @throws AppError `takeover_failed` if another import has the lock
 */
export async function lockTakeovers(): Promise<Disposable> {
  await ensurePrivateDirectory(directory());
  const lock = tryLock(`${directory()}.lock`);
  if (lock !== undefined) return lock;
  throw new AppError('takeover_failed', 'another `sluice import pm2` with --apply or --undo runs', {
    hint: 'Nothing has changed. Wait until that command has ended, and run this command again.',
  });
}

const pathOf = (app: string) => join(directory(), `${app}.json`);

/** Writes the record of a takeover, before the takeover begins. */
export async function saveRecord(app: string, record: TakeoverRecord): Promise<string> {
  await ensurePrivateDirectory(directory());
  await writeJsonAtomic(pathOf(app), record, 0o600);
  return pathOf(app);
}

/** Returns the record of a takeover; undefined if there is none, or if it was undone. */
export async function findRecord(app: string): Promise<TakeoverRecord | undefined> {
  const record = await readRecord(app);
  return record?.undoneAt === undefined ? record : undefined;
}

async function readRecord(app: string): Promise<TakeoverRecord | undefined> {
  const path = pathOf(app);
  try {
    const value = await readJson(path);
    // Files of nginx get the texts of the record, so no other user may have written it.
    const isOwn = value !== undefined && (await stat(path)).uid === process.geteuid?.();
    return isOwn ? parseSettings(recordSchema, value, path) : undefined;
  } catch (error) {
    throw new AppError('takeover_failed', (error as Error).message, {
      hint: 'If a newer version of Sluice has written this record, use that version. If not, move the file away.',
      cause: error,
    });
  }
}

/**
 * Finds the takeover of an app that was not undone. Needs no record of another app if the name is that of the app in Sluice.
 * @param name of the app in Sluice, or of one of its apps in PM2
 * @param remark gets a line for each record that cannot be read
 * @throws AppError `takeover_failed` if there is none, or more than one, or if the record cannot be read
 */
export async function loadRecord(
  name: string,
  remark: Remark,
): Promise<{ app: string; record: TakeoverRecord }> {
  const own = (await recordedApps()).includes(name) ? await findRecord(name) : undefined;
  if (own !== undefined) return { app: name, record: own };
  const named = [...(await readRecords(remark))]
    .filter(([app, { names }]) => app === name || names.includes(name))
    .map(([app, record]) => ({ app, record }));
  const taken = named.filter(({ record }) => record.undoneAt === undefined);
  const [found, ...others] = taken;
  if (found !== undefined && others.length === 0) return found;
  if (found !== undefined)
    throw new AppError('takeover_failed', `${name} is part of ${taken.map(({ app }) => app).join(' and ')}`, {
      hint: 'Name one of these apps.',
    });
  const [undone] = named;
  if (undone === undefined)
    throw new AppError('takeover_failed', `there is no record of a takeover of ${name}`, {
      hint: `\`sluice import pm2 --apply\` writes records into ${directory()}. Run --undo as the user who ran --apply.`,
    });
  const { app, record } = undone;
  throw new AppError('takeover_failed', `${app} has returned to PM2 already, at ${record.undoneAt}`, {
    hint: `Nothing has changed. To take over its traffic again: sluice import pm2 --app ${record.names[0]} --apply`,
  });
}

/** Returns the records of takeovers that were not undone, by the names of their apps in Sluice. */
export async function listRecords(): Promise<Map<string, TakeoverRecord>> {
  return new Map([...(await readRecords())].filter(([, { undoneAt }]) => undoneAt === undefined));
}

type Remark = (text: string) => void;

/** @param remark gets a line for each record that cannot be read; without it, such a record is an error */
async function readRecords(remark?: Remark): Promise<Map<string, TakeoverRecord>> {
  const records = new Map<string, TakeoverRecord>();
  for (const app of await recordedApps()) {
    try {
      const record = await readRecord(app);
      if (record !== undefined) records.set(app, record);
    } catch (error) {
      if (remark === undefined) throw error;
      remark(`note: the takeover of ${app} is left out: ${(error as Error).message}`);
    }
  }
  return records;
}

/** Returns the names of the apps in Sluice that have a record. */
async function recordedApps(): Promise<string[]> {
  const files = (await ifThere(readdir(directory()))) ?? [];
  return files.filter((file) => file.endsWith('.json')).map((file) => file.slice(0, -'.json'.length));
}

export async function removeRecord(app: string): Promise<void> {
  await rm(pathOf(app), { force: true });
}
