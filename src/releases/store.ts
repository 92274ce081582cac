import { statSync } from 'node:fs';
import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { appSettingsSchema } from '../config/app-settings.ts';
import {
  type EnvironmentId,
  type EnvironmentPaths,
  environmentName,
  type ReleasePaths,
} from '../config/paths.ts';
import { parseSettings } from '../config/settings-file.ts';
import { AppError, isRefusedByDisk } from '../errors/app-error.ts';
import {
  ensurePrivateDirectory,
  readJson,
  readLink,
  readUndamagedJson,
  replaceLink,
  syncDirectory,
  writeJsonAtomic,
} from '../system/fs/files.ts';
import { emptyDirectory, removeTree } from '../system/fs/remove-tree.ts';
import { sweepTemporaries } from '../system/fs/temporaries.ts';
import { type EmptyTree, ReleaseDirectories } from './directory.ts';
import type { ReleaseRecord, RunPlan } from './release.ts';

/** Number of records without a tree to keep for the history. */
const maxBareRecords = 200;

/** Active generation and its release: the part of the generation file that the server reads. */
export type Active = v.InferOutput<typeof generationSchema>;

const number = v.pipe(v.number(), v.integer());

const generationSchema = v.object({
  generation: number,
  release: number,
  reverted: v.optional(v.object({ release: number, at: v.string(), reason: v.string() })),
});

/** Facts about a release that decide what may happen to it. A release may have thousands of others beside it, so they are few. */
export interface ReleaseOutline
  extends Pick<ReleaseRecord, 'number' | 'liveAt' | 'error' | 'reverted' | 'sizeBytes' | 'node'> {
  /** true if the record has a plan to run the release */
  hasPlan: boolean;
  /** see `hasTree` of ReleaseDirectories */
  hasTree: boolean;
}

type ReleaseError = NonNullable<ReleaseRecord['error']>;

/**
 * Releases of one environment: their numbers, directories, records and retention. All state is on the disk. A process has one
 * store for each environment, which makes one change at a time.
 */
export class ReleaseStore extends ReleaseDirectories {
  readonly id: EnvironmentId;
  readonly #onLeft: (release: number, error: unknown) => void;
  /** end of the last removal of trees */
  #emptied: Promise<void> = Promise.resolve();
  /** outlines by number, with the stamps of the files that they were read from; `isFinal`: the files are not checked again */
  readonly #outlines = new Map<number, { stamp: string; outline: ReleaseOutline; isFinal: boolean }>();
  /** errors of failed releases that the disk has refused to clean up or record so far */
  readonly #failing = new Map<number, ReleaseError>();

  /**
   * @param empty removes the entries of a tree, except one name
   * @param onLeft called with a failed release that cannot be cleaned up; only the next start tries again
   */
  constructor(
    id: EnvironmentId,
    paths: EnvironmentPaths,
    empty: EmptyTree = emptyDirectory,
    onLeft: (release: number, error: unknown) => void = () => undefined,
  ) {
    super(paths, empty);
    this.id = id;
    this.#onLeft = onLeft;
  }

  /** Assigns the next number and creates the staging directory with a record. */
  async allocate(source: ReleaseRecord['source']): Promise<ReleaseRecord> {
    await this.#retryFailing();
    const number = await this.claim();
    const record: ReleaseRecord = {
      number,
      source,
      createdAt: new Date().toISOString(),
      liveAt: null,
      error: null,
      notices: [],
      durationMs: null,
      buildMs: null,
      sizeBytes: null,
      run: null,
    };
    const staged = this.paths.staged(number);
    try {
      await ensurePrivateDirectory(staged.records);
      await writeJsonAtomic(staged.record, record);
    } catch (error) {
      // Without a record there is no release. If the removal fails too, the next start clears staging.
      await removeTree(staged.directory).catch(() => undefined);
      throw error;
    }
    await syncDirectory(staged.directory);
    return record;
  }

  /** Changes a record. @throws AppError `release_not_found` */
  async update(number: number, changes: Partial<Omit<ReleaseRecord, 'number'>>): Promise<ReleaseRecord> {
    using _ = await this.changes.take();
    const found = await this.#find(number);
    if (found === undefined) {
      throw new AppError('release_not_found', `release ${number} of ${environmentName(this.id)} not found`);
    }
    const changed = { ...found.record, ...changes };
    await writeJsonAtomic(found.path, changed);
    this.#outlines.delete(number);
    return changed;
  }

  /**
   * Records the error of a release that was never live, and removes its tree and its plan, but not its records.
   * @throws AppError `release_not_found`; an Error if the release was live
   */
  async fail(number: number, error: ReleaseError): Promise<ReleaseRecord> {
    try {
      return await this.#fail(number, error);
    } catch (refused) {
      if (isRefusedByDisk(refused)) this.#failing.set(number, error);
      throw refused;
    }
  }

  /**
   * Tries again to clean up and record failed releases, after a disk has refused it. If the disk refuses again, the next call
   * tries again. After any other error only the next start tries again, so that no deploy is blocked.
   */
  async #retryFailing(): Promise<void> {
    for (const [number, error] of [...this.#failing]) {
      this.#failing.delete(number);
      await this.fail(number, error).catch((again: unknown) => {
        if (!isRefusedByDisk(again)) this.#onLeft(number, again);
      });
    }
  }

  async #fail(number: number, error: ReleaseError): Promise<ReleaseRecord> {
    const record = await this.get(number);
    if ((record?.liveAt ?? null) !== null || (await this.active())?.release === number) {
      throw new Error(`release ${number} of ${environmentName(this.id)} was live and cannot fail`);
    }
    // The tree first: on a full disk, its removal frees the space for the record.
    const [stripped] = await Promise.allSettled([this.strip(number)]);
    const failed = await this.update(number, { error, run: null });
    if (stripped.status === 'rejected') throw stripped.reason;
    return failed;
  }

  async get(number: number): Promise<ReleaseRecord | undefined> {
    return (await this.#find(number))?.record;
  }

  async #find(number: number): Promise<{ path: string; record: ReleaseRecord } | undefined> {
    for (const { record: path } of this.candidates(number)) {
      const record = await readRecord(path);
      if (record !== undefined) return { path, record };
    }
    return undefined;
  }

  /** Returns all releases, the newest first, including those in staging. */
  async list(): Promise<ReleaseRecord[]> {
    const numbers = await this.numbers();
    const records = await Promise.all(numbers.map((number) => this.get(number)));
    return records.filter((record) => record !== undefined);
  }

  /**
   * Returns the outlines of all releases, the newest first. Reads only those whose files have changed since the last call. Several calls
   * belong to each deploy, so it does not even look at releases that can never run again.
   */
  async outlines(): Promise<ReleaseOutline[]> {
    const numbers = await this.numbers();
    const outlines = await Promise.all(numbers.map((number) => this.#outline(number)));
    const existing = new Set(numbers);
    for (const number of this.#outlines.keys()) if (!existing.has(number)) this.#outlines.delete(number);
    return outlines.filter((outline) => outline !== undefined);
  }

  async #outline(number: number): Promise<ReleaseOutline | undefined> {
    const known = this.#outlines.get(number);
    if (known?.isFinal) return known.outline;
    // Before the files are read, so that a later change is noticed.
    const stamp = stampOf(this.paths.release(number));
    if (stamp !== undefined && known?.stamp === stamp) {
      known.isFinal = isFinal(known.outline);
      return known.outline;
    }
    const record = await this.get(number);
    if (record === undefined) return undefined;
    const { liveAt, error, reverted, sizeBytes, node, run } = record;
    const outline = {
      ...{ number, liveAt, error, sizeBytes, ...(node && { node }), ...(reverted && { reverted }) },
      ...{ hasPlan: run !== null, hasTree: await this.hasTree(number) },
    };
    if (stamp !== undefined) this.#outlines.set(number, { stamp, outline, isFinal: false });
    return outline;
  }

  /** Returns the active generation and its release, as the runner recorded them at the last switch. */
  async active(): Promise<Active | null> {
    const value = await readJson(this.paths.generation);
    return value === undefined ? null : parseSettings(generationSchema, value, this.paths.generation);
  }

  /** Returns the releases that were live and could be live again, the newest first. */
  async retained(): Promise<ReleaseOutline[]> {
    const active = await this.active();
    return (await this.outlines()).filter((one) => isSwitchable(one) && one.number !== active?.release);
  }

  /** Records the first time that a release was live. */
  async markLive(number: number, at: Date): Promise<ReleaseRecord> {
    const record = await this.get(number);
    return record && record.liveAt !== null ? record : this.update(number, { liveAt: at.toISOString() });
  }

  /**
   * Marks the active release as live, in case the disk refused to do so at its switch. Otherwise the release would count as never
   * live once another release is active. Ignores a damaged record, so that it does not block a switch.
   */
  async markActiveLive(): Promise<void> {
    const active = await this.active();
    if (active === null || (await this.get(active.release)) === undefined) return;
    await this.markLive(active.release, (await stat(this.paths.generation)).mtime);
  }

  /** Returns the numbers of releases that are kept only while they are in use: see `retain`. */
  async expired(keep: number): Promise<number[]> {
    return (await this.#expired(keep, await this.outlines())).expired;
  }

  async #expired(keep: number, releases: ReleaseOutline[]) {
    const active = (await this.active())?.release ?? 0;
    const switchable = releases.filter(isSwitchable);
    const live = switchable.map(({ number }) => number);
    const previous = previousLive(switchable, active)?.number;
    const expired = live.filter((number, at) => at >= keep && number !== active && number !== previous);
    return { live, expired };
  }

  /**
   * Removes the trees of old releases with the plans to run them, and the oldest records without a tree. The releases count as
   * removed at once. Their files are removed later.
   * @param keep number of the newest live releases to keep, besides the active and the previous one
   * @param inUse releases whose workers or one-off commands still run
   * @returns `expired`: numbers of the releases whose trees are removed; `emptied`: resolves when their files are gone
   */
  async retain(
    keep: number,
    inUse: ReadonlySet<number>,
  ): Promise<{ expired: number[]; emptied: Promise<void> }> {
    const releases = await this.outlines();
    const { live, expired: all } = await this.#expired(keep, releases);
    const expired = all.filter((number) => !inUse.has(number));
    const aside: (() => Promise<void>)[] = [];
    for (const number of expired) aside.push(await this.setAside(number));
    const trees = new Set(live).difference(new Set(expired));
    const isBare = ({ number, liveAt, error }: ReleaseOutline) =>
      !trees.has(number) && (liveAt !== null || error !== null);
    const bare = releases.filter(isBare);
    const surplus = bare.slice(maxBareRecords).filter(({ number }) => !expired.includes(number));
    for (const { number } of surplus) await this.drop(number);
    // A plan may have secrets, from env files of the release.
    for (const { number, hasPlan } of bare.slice(0, maxBareRecords))
      if (hasPlan) await this.update(number, { run: null });
    const emptied = emptyAll(aside);
    this.#emptied = emptied.catch(() => undefined);
    return { expired, emptied };
  }

  /** Waits until the trees of removed releases are gone, or cannot be removed. */
  settled(): Promise<void> {
    return this.#emptied;
  }

  /**
   * Repairs the state after a crash, from the generation file. Call it at the start of a server: before the first deploy, and
   * while the runner does not switch this environment.
   * @returns the numbers of the releases that the crash interrupted
   */
  async reconcile(): Promise<number[]> {
    const active = await this.active();
    await this.resumeRemovals();
    const built = await readRecord(this.paths.built.record);
    if (built !== undefined && Number.isSafeInteger(built.number)) await this.resumeBuild(built.number);
    const interrupted: number[] = [];
    for (const { number, liveAt, error } of await this.list()) {
      if (liveAt !== null || error !== null || number === active?.release) continue;
      await this.fail(number, interruption);
      interrupted.push(number);
    }
    await this.clearStaging();
    await this.markActiveLive();
    await this.#repairCurrent();
    const numbers = await this.numbers();
    const records = numbers.map((number) => this.paths.release(number).records);
    for (const directory of [this.paths.directory, ...records]) await sweepTemporaries(directory);
    return interrupted;
  }

  async #repairCurrent(): Promise<void> {
    for (;;) {
      const active = await this.active();
      const target = active === null ? undefined : join('releases', String(active.release));
      if ((await readLink(this.paths.current)) === target) return;
      if (target === undefined) await rm(this.paths.current, { force: true });
      else await replaceLink(this.paths.current, target);
    }
  }
}

/** Returns true for a release that traffic can be switched to. */
function isSwitchable({ liveAt, hasTree }: ReleaseOutline): boolean {
  return liveAt !== null && hasTree;
}

/** Returns true for a release of the past that can never run again. Only the store changes its record. */
function isFinal({ liveAt, error, hasPlan, hasTree }: ReleaseOutline): boolean {
  return (liveAt !== null || error !== null) && !hasPlan && !hasTree;
}

/**
 * Returns a text that changes whenever a record, or an entry in its tree, does: each change of a record makes another file. Returns
 * undefined if the release is not in its final directory. Synchronous calls are ten times as fast for a thousand releases.
 */
function stampOf({ record, directory }: ReleasePaths): string | undefined {
  const stats = [record, directory].map((path) => statSync(path, { throwIfNoEntry: false }));
  if (stats.includes(undefined)) return undefined;
  return stats.map((one) => [one?.ino, one?.mtimeMs, one?.ctimeMs, one?.size].join(' ')).join(' ');
}

async function emptyAll(aside: (() => Promise<void>)[]): Promise<void> {
  for (const empty of aside) await empty();
}

/** Returns the newest of these releases before the active one that was not reverted. */
export function previousLive(releases: ReleaseOutline[], active: number): ReleaseOutline | undefined {
  return releases.find(({ number, reverted }) => number < active && reverted === undefined);
}

const interruption: ReleaseError = {
  code: 'interrupted',
  message: 'the server ended before this release was live',
  hint: 'The live release has not changed. Deploy again.',
  step: 'unknown',
};

/** Returns a record; undefined if it is missing or damaged. A damaged record must not block other releases. */
async function readRecord(path: string): Promise<ReleaseRecord | undefined> {
  const value = await readUndamagedJson(path);
  return isRecord(value) ? { ...value, run: value.run && completePlan(value.run) } : undefined;
}

function isRecord(value: unknown): value is ReleaseRecord {
  if (typeof value !== 'object' || value === null) return false;
  return 'number' in value && 'liveAt' in value && 'error' in value;
}

const defaults = parseSettings(appSettingsSchema, {}, 'no settings');

/** Adds defaults to a plan of an earlier version, which may lack settings. */
function completePlan(plan: RunPlan): RunPlan {
  return { ...plan, settings: { ...defaults, ...plan.settings } };
}
