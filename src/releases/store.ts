import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { type AppSettings, appSettingsSchema } from '../config/app-settings.ts';
import {
  type EnvironmentId,
  type EnvironmentPaths,
  environmentName,
  type ReleasePaths,
} from '../config/paths.ts';
import { parseSettings } from '../config/settings-file.ts';
import { AppError, isRefusedByDisk } from '../errors/app-error.ts';
import type { ActiveRelease } from '../protocol/runner.ts';
import { Lock } from '../system/concurrency/slots.ts';
import {
  ensurePrivateDirectory,
  readJson,
  readLink,
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
export type Active = Omit<ActiveRelease, 'handoff'>;

const generationSchema: v.GenericSchema<unknown, Active> = v.object({
  generation: v.pipe(v.number(), v.integer()),
  release: v.pipe(v.number(), v.integer()),
});

type ReleaseError = NonNullable<ReleaseRecord['error']>;

/** A record, and true if the files of the release exist. */
type Listed = ReleaseRecord & { hasTree: boolean };

/**
 * Releases of one environment: their numbers, directories, records and retention. All state is on the disk; see
 * ReleaseDirectories for the moves of a release. A process has one store for each environment, which makes one change at a time.
 */
export class ReleaseStore {
  readonly id: EnvironmentId;
  readonly #paths: EnvironmentPaths;
  readonly #directories: ReleaseDirectories;
  readonly #onLeft: (release: number, error: unknown) => void;
  readonly #writes = new Lock();
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
    this.id = id;
    this.#paths = paths;
    this.#onLeft = onLeft;
    this.#directories = new ReleaseDirectories(paths, empty);
  }

  /** Assigns the next number and creates the staging directory with a record. */
  async allocate(source: ReleaseRecord['source']): Promise<ReleaseRecord> {
    await this.#retryFailing();
    const number = await this.#directories.claim();
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
    const staged = this.#paths.staged(number);
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
  update(number: number, changes: Partial<Omit<ReleaseRecord, 'number'>>): Promise<ReleaseRecord> {
    return this.#writes.run(async () => {
      const paths = await this.locate(number);
      const record = await this.get(number);
      if (paths === undefined || record === undefined) throw this.#notFound(number);
      const changed = { ...record, ...changes };
      await writeJsonAtomic(paths.record, changed);
      return changed;
    });
  }

  /** Moves a built release to its final directory. From then on, only its record changes. */
  publish(number: number): Promise<void> {
    return this.#writes.run(() => this.#directories.publish(number));
  }

  /**
   * Records the error of a release that was never live, and removes its tree, but not its records.
   * @throws AppError `release_not_found`; an Error if the release was live
   */
  async fail(number: number, error: ReleaseError): Promise<ReleaseRecord> {
    try {
      const failed = await this.#fail(number, error);
      this.#failing.delete(number);
      return failed;
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
    for (const [number, error] of this.#failing) {
      await this.fail(number, error).catch((again: unknown) => {
        if (isRefusedByDisk(again)) return;
        this.#failing.delete(number);
        this.#onLeft(number, again);
      });
    }
  }

  async #fail(number: number, error: ReleaseError): Promise<ReleaseRecord> {
    const record = await this.get(number);
    if ((record?.liveAt ?? null) !== null || (await this.active())?.release === number) {
      throw new Error(`release ${number} of ${environmentName(this.id)} was live and cannot fail`);
    }
    // The tree first: on a full disk, its removal frees the space for the record.
    const [stripped] = await Promise.allSettled([this.#strip(number)]);
    const failed = await this.update(number, { error });
    if (stripped.status === 'rejected') throw stripped.reason;
    return failed;
  }

  async get(number: number): Promise<ReleaseRecord | undefined> {
    for (const paths of this.#directories.candidates(number)) {
      const record = await readRecord(paths);
      if (record !== undefined) return record;
    }
    return undefined;
  }

  /** Returns all releases, the newest first, including those in staging. */
  async list(): Promise<ReleaseRecord[]> {
    const numbers = await this.#directories.numbers();
    const records = await Promise.all(numbers.map((number) => this.get(number)));
    return records.filter((record) => record !== undefined);
  }

  /** Returns the current paths of a release, for its build log. They change when the release is published or fails. */
  locate(number: number): Promise<ReleasePaths | undefined> {
    return this.#directories.locate(number);
  }

  /** Returns true if the files of a published release exist, not only its records. */
  hasTree(number: number): Promise<boolean> {
    return this.#directories.hasTree(number);
  }

  /** Returns the active generation and its release, as the runner recorded them at the last switch. */
  async active(): Promise<Active | null> {
    const value = await readJson(this.#paths.generation);
    return value === undefined ? null : parseSettings(generationSchema, value, this.#paths.generation);
  }

  /** Returns the releases that were live and could be live again, the newest first. */
  async retained(): Promise<ReleaseRecord[]> {
    const active = await this.active();
    return switchable(await this.#listed()).filter(({ number }) => number !== active?.release);
  }

  /** Returns the target of a rollback without a number: the newest release before the active one that was live. */
  async previous(): Promise<ReleaseRecord | undefined> {
    return previousOf(switchable(await this.#listed()), (await this.active())?.release);
  }

  /** Records the first time that a release was live. */
  async markLive(number: number, at: Date): Promise<ReleaseRecord> {
    const record = await this.get(number);
    if (record === undefined) throw this.#notFound(number);
    return record.liveAt === null ? this.update(number, { liveAt: at.toISOString() }) : record;
  }

  /**
   * Marks the active release as live, in case the disk refused to do so at its switch. Otherwise the release would count as never
   * live once another release is active. Ignores a damaged record, so that it does not block a switch.
   */
  async markActiveLive(): Promise<void> {
    const active = await this.active();
    if (active === null || (await this.get(active.release)) === undefined) return;
    await this.markLive(active.release, (await stat(this.#paths.generation)).mtime);
  }

  /**
   * Removes the trees of old releases, and the oldest records without a tree.
   * @param keep number of the newest live releases to keep, besides the active and the previous one
   * @param draining releases whose workers still run
   * @returns the numbers of releases whose trees were removed
   */
  async retain(keep: number, draining: ReadonlySet<number>): Promise<number[]> {
    const releases = await this.#listed();
    const active = (await this.active())?.release;
    const live = switchable(releases);
    const retained = new Set([active, previousOf(live, active)?.number, ...draining]);
    const expired = live.map(({ number }) => number).filter((n, at) => at >= keep && !retained.has(n));
    for (const number of expired) await this.#strip(number);
    const bare = releases.filter(
      ({ number, liveAt, error, hasTree }) =>
        expired.includes(number) || (!hasTree && (liveAt !== null || error !== null)),
    );
    for (const { number } of bare.slice(maxBareRecords)) {
      await this.#writes.run(() => this.#directories.drop(number));
    }
    return expired;
  }

  /**
   * Repairs the state after a crash, from the generation file. Call it at the start of a server: before the first deploy, and
   * while the runner does not switch this environment.
   * @returns the numbers of the releases that the crash interrupted
   */
  async reconcile(): Promise<number[]> {
    const active = await this.active();
    await this.#directories.resumeRemovals();
    const interrupted: number[] = [];
    for (const { number, liveAt, error } of await this.list()) {
      if (liveAt !== null || error !== null || number === active?.release) continue;
      await this.fail(number, interruption);
      interrupted.push(number);
    }
    await this.#directories.clearStaging();
    await this.markActiveLive();
    await this.#repairCurrent();
    const numbers = await this.#directories.numbers();
    const records = numbers.map((number) => this.#paths.release(number).records);
    for (const directory of [this.#paths.directory, ...records]) await sweepTemporaries(directory);
    return interrupted;
  }

  async #repairCurrent(): Promise<void> {
    for (;;) {
      const active = await this.active();
      const target = active === null ? undefined : join('releases', String(active.release));
      if ((await readLink(this.#paths.current)) === target) return;
      if (target === undefined) await rm(this.#paths.current, { force: true });
      else await replaceLink(this.#paths.current, target);
    }
  }

  #strip(number: number): Promise<void> {
    return this.#writes.run(() => this.#directories.strip(number));
  }

  async #listed(): Promise<Listed[]> {
    const records = await this.list();
    return Promise.all(
      records.map(async (record) => ({ ...record, hasTree: await this.hasTree(record.number) })),
    );
  }

  #notFound(number: number): AppError {
    return new AppError('release_not_found', `release ${number} of ${environmentName(this.id)} not found`);
  }
}

/** Returns the releases that traffic can be switched to. */
function switchable(releases: Listed[]): Listed[] {
  return releases.filter(({ liveAt, hasTree }) => liveAt !== null && hasTree);
}

/** @param releases the newest first */
function previousOf(releases: Listed[], active: number | undefined): Listed | undefined {
  return releases.find(({ number }) => active !== undefined && number < active);
}

const interruption: ReleaseError = {
  code: 'interrupted',
  message: 'the server ended before this release was live',
  hint: 'The live release has not changed. Deploy again.',
  step: 'unknown',
};

/** Returns a record; undefined if it is missing or damaged. A damaged record must not block other releases. */
async function readRecord(paths: ReleasePaths): Promise<ReleaseRecord | undefined> {
  try {
    const value = await readJson(paths.record);
    return isRecord(value) ? { ...value, run: value.run && completePlan(value.run) } : undefined;
  } catch (error) {
    if (error instanceof Error && error.cause instanceof SyntaxError) return undefined;
    throw error;
  }
}

function isRecord(value: unknown): value is ReleaseRecord {
  if (typeof value !== 'object' || value === null) return false;
  return 'number' in value && 'liveAt' in value && 'error' in value;
}

let defaults: AppSettings | undefined;

/** Adds defaults to a plan of an earlier version, which may lack fields and settings. */
function completePlan(plan: RunPlan): RunPlan {
  defaults ??= parseSettings(appSettingsSchema, {}, 'no settings');
  return { ...plan, background: plan.background ?? [], settings: { ...defaults, ...plan.settings } };
}
