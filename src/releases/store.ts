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
import { Slots } from '../system/concurrency/slots.ts';
import {
  ensurePrivateDirectory,
  readJson,
  readLink,
  replaceLink,
  sweepTemporaries,
  syncDirectory,
  writeJsonAtomic,
} from '../system/fs/files.ts';
import { emptyDirectory, removeTree } from '../system/fs/remove-tree.ts';
import { type EmptyTree, ReleaseDirectories } from './directory.ts';
import type { ReleaseRecord, RunPlan } from './release.ts';

/** Records without a tree that are kept for the history; older ones are dropped. */
const keptRecords = 200;

const generationSchema = v.object({
  generation: v.pipe(v.number(), v.integer()),
  release: v.pipe(v.number(), v.integer()),
});

export type Active = v.InferOutput<typeof generationSchema>;

/**
 * The releases of one target: their numbers, where they lie, their records, and how long they are kept. All state
 * is on the disk; see Places for how a release moves. One instance a target and process: it is what keeps two
 * changes of one record from overwriting each other.
 */
export class ReleaseStore {
  readonly target: EnvironmentId;
  readonly #paths: EnvironmentPaths;
  readonly #places: ReleaseDirectories;
  readonly #leave: (release: number, error: unknown) => void;
  readonly #writes = new Slots(1);
  /** failed releases whose removal or record the disk has refused so far, with their errors */
  readonly #failing = new Map<number, NonNullable<ReleaseRecord['error']>>();

  /**
   * @param empty removes what is in a tree, but for one name
   * @param leave called with a failed release that cannot be cleaned up; only the next start tries again
   */
  constructor(
    target: EnvironmentId,
    paths: EnvironmentPaths,
    empty: EmptyTree = emptyDirectory,
    leave: (release: number, error: unknown) => void = () => undefined,
  ) {
    this.target = target;
    this.#paths = paths;
    this.#leave = leave;
    this.#places = new ReleaseDirectories(paths, empty);
  }

  /** Gives out the next number, for good, and creates its staging directory with a record in it. */
  async allocate(source: ReleaseRecord['source']): Promise<ReleaseRecord> {
    await this.#finishFailing();
    const number = await this.#places.claim();
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
    const place = this.#paths.staged(number);
    try {
      await ensurePrivateDirectory(place.records);
      await writeJsonAtomic(place.record, record);
    } catch (error) {
      // Without a record there is no release. If the removal fails too, the next start clears staging.
      await removeTree(place.directory).catch(() => undefined);
      throw error;
    }
    await syncDirectory(place.directory);
    return record;
  }

  /** Changes a record, wherever it lies. @throws AppError `release_not_found` */
  update(number: number, changes: Partial<Omit<ReleaseRecord, 'number'>>): Promise<ReleaseRecord> {
    return this.#writes.run(async () => {
      const place = await this.#places.locate(number);
      const record = await this.get(number);
      if (place === undefined || record === undefined) throw this.#notFound(number);
      const changed = { ...record, ...changes };
      await writeJsonAtomic(place.record, changed);
      return changed;
    });
  }

  /** Moves a built release to its final place. Nothing changes there any more but its record. */
  publish(number: number): Promise<void> {
    return this.#writes.run(() => this.#places.publish(number));
  }

  /**
   * Writes down why a release never went live, and removes its tree; its records stay.
   * @throws AppError `release_not_found`; an Error where it was live, since its tree is then worth something
   */
  async fail(number: number, error: NonNullable<ReleaseRecord['error']>): Promise<ReleaseRecord> {
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
  async #finishFailing(): Promise<void> {
    for (const [number, error] of this.#failing) {
      await this.fail(number, error).catch((again: unknown) => {
        if (isRefusedByDisk(again)) return;
        this.#failing.delete(number);
        this.#leave(number, again);
      });
    }
  }

  async #fail(number: number, error: NonNullable<ReleaseRecord['error']>): Promise<ReleaseRecord> {
    const record = await this.get(number);
    if ((record?.liveAt ?? null) !== null || (await this.active())?.release === number) {
      throw new Error(`release ${number} of ${environmentName(this.target)} was live and cannot fail`);
    }
    // The tree first: on a full disk, removing it makes the room for the record.
    const stripped = await Promise.allSettled([this.#writes.run(() => this.#places.strip(number))]);
    const failed = await this.update(number, { error });
    if (stripped[0].status === 'rejected') throw stripped[0].reason;
    return failed;
  }

  async get(number: number): Promise<ReleaseRecord | undefined> {
    for (const place of this.#places.candidates(number)) {
      const record = await readRecord(place);
      if (record !== undefined) return record;
    }
    return undefined;
  }

  /** All releases, the newest first, including ones that are being built. */
  async list(): Promise<ReleaseRecord[]> {
    const numbers = await this.#places.numbers();
    const records = await Promise.all(numbers.map((number) => this.get(number)));
    return records.filter((record) => record !== undefined);
  }

  /** Where a release lies now, for its build log; it moves when it is published or fails. */
  locate(number: number): Promise<ReleasePaths | undefined> {
    return this.#places.locate(number);
  }

  /** Whether the files of a published release are there, not only its records. */
  hasTree(number: number): Promise<boolean> {
    return this.#places.hasTree(number);
  }

  /** The generation that has the traffic and the release it runs, as the runner wrote it down at the last switch. */
  async active(): Promise<Active | null> {
    const value = await readJson(this.#paths.generation);
    return value === undefined ? null : parseSettings(generationSchema, value, this.#paths.generation);
  }

  /** Releases that were live and could be again, the newest first. */
  async retained(): Promise<ReleaseRecord[]> {
    const active = await this.active();
    return switchable(await this.#retainable()).filter(({ number }) => number !== active?.release);
  }

  /** Where a rollback without a number goes: the newest release before the active one that was live and is there. */
  async previous(): Promise<ReleaseRecord | undefined> {
    return previousRelease(await this.#retainable(), (await this.active())?.release ?? null);
  }

  /** Notes the first time a release was live; a later one changes nothing. */
  async markLive(number: number, at: Date): Promise<ReleaseRecord> {
    const record = await this.get(number);
    if (record === undefined) throw this.#notFound(number);
    return record.liveAt === null ? this.update(number, { liveAt: at.toISOString() }) : record;
  }

  /**
   * Notes that the active release was live, in case the disk refused the note at its switch. Without the note, the release
   * would count as never live once another release is active. If its record is damaged, nothing is noted, so that the record
   * does not block a switch.
   */
  async markActiveLive(): Promise<void> {
    const active = await this.active();
    if (active === null || (await this.get(active.release)) === undefined) return;
    await this.markLive(active.release, (await stat(this.#paths.generation)).mtime);
  }

  /**
   * Removes the trees of old releases, and the oldest records.
   * @param keep how many of the newest that were live stay, besides the active and the previous one
   * @param draining releases that still have work to do
   * @returns the numbers whose trees were removed
   */
  async retain(keep: number, draining: ReadonlySet<number>): Promise<number[]> {
    const releases = await this.#retainable();
    const activeRelease = (await this.active())?.release ?? null;
    const expired = expiredReleases(releases, { keep, activeRelease, draining });
    for (const number of expired) await this.#writes.run(() => this.#places.strip(number));
    const bare = releases.filter(
      ({ number, liveAt, error, hasTree }) =>
        expired.includes(number) || (!hasTree && (liveAt !== null || error !== null)),
    );
    for (const { number } of bare.slice(keptRecords)) {
      await this.#writes.run(() => this.#places.drop(number));
    }
    return expired;
  }

  /**
   * Brings everything into order that a crash may have left half done: for the start of a server, before the first
   * deploy and while the runner has no switch of this target under way. The generation file is the truth.
   * @returns the numbers of the releases that the crash interrupted
   */
  async reconcile(): Promise<number[]> {
    const active = await this.active();
    await this.#places.resumeRemovals();
    const interrupted: number[] = [];
    for (const { number, liveAt, error } of await this.list()) {
      if (liveAt !== null || error !== null || number === active?.release) continue;
      await this.fail(number, interruption);
      interrupted.push(number);
    }
    await this.#places.clearStaging();
    await this.markActiveLive();
    await this.#repairCurrent();
    await this.#sweep();
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

  async #sweep(): Promise<void> {
    const places = (await this.#places.numbers()).map((number) => this.#paths.release(number).records);
    for (const directory of [this.#paths.directory, ...places]) await sweepTemporaries(directory);
  }

  async #retainable(): Promise<(ReleaseRecord & Retainable)[]> {
    const records = await this.list();
    return Promise.all(
      records.map(async (record) => ({ ...record, hasTree: await this.hasTree(record.number) })),
    );
  }

  #notFound(number: number): AppError {
    return new AppError('release_not_found', `${environmentName(this.target)} has no release ${number}`);
  }
}

const interruption: NonNullable<ReleaseRecord['error']> = {
  code: 'interrupted',
  message: 'the server ended before this release was live',
  hint: 'Nothing that was live has changed: deploy again.',
  step: 'unknown',
};

/** A damaged record counts as none: the release can no longer be run, and must not stand in the way of the others. */
async function readRecord(place: ReleasePaths): Promise<ReleaseRecord | undefined> {
  try {
    const value = await readJson(place.record);
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

/** What retention needs to know of a release. */
export interface Retainable {
  number: number;
  liveAt: string | null;
  hasTree: boolean;
}

/** Releases that traffic can be switched to, the newest first. */
export function switchable<R extends Retainable>(releases: Iterable<R>): R[] {
  return [...releases]
    .filter((release) => release.liveAt !== null && release.hasTree)
    .sort((a, b) => b.number - a.number);
}

/** Where a rollback without a number goes: the newest switchable release before the active one. */
export function previousRelease<R extends Retainable>(
  releases: Iterable<R>,
  activeRelease: number | null,
): R | undefined {
  return switchable(releases).find((release) => activeRelease !== null && release.number < activeRelease);
}

/**
 * Numbers of the releases whose trees may go: all that were live but the `keep` newest, the active one, the one a
 * rollback would go to, and those that still have work to do.
 */
export function expiredReleases(
  releases: Retainable[],
  {
    keep,
    activeRelease,
    draining,
  }: { keep: number; activeRelease: number | null; draining: ReadonlySet<number> },
): number[] {
  const previous = previousRelease(releases, activeRelease)?.number;
  return switchable(releases)
    .slice(keep)
    .map((release) => release.number)
    .filter((number) => number !== activeRelease && number !== previous && !draining.has(number));
}

let defaults: AppSettings | undefined;

/** A plan from a version that did not know of all there is today: what it does not say is as it is by default. */
export function completePlan(plan: RunPlan): RunPlan {
  defaults ??= parseSettings(appSettingsSchema, {}, 'no settings');
  return { ...plan, background: plan.background ?? [], settings: { ...defaults, ...plan.settings } };
}
