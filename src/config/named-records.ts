import * as v from 'valibot';
import { AppError } from '../errors/app-error.ts';
import { Lock } from '../system/concurrency/slots.ts';
import { readJson, writeJsonAtomic } from '../system/fs/files.ts';
import { parseSettings } from './settings-file.ts';

const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$/;

/** Named records in a file of mode 0600, such as `{"tokens": [...]}`. Reads the file once, because only this process writes it. */
export class NamedRecords<R extends { name: string }> {
  readonly #path: string;
  readonly #schema: v.GenericSchema<unknown, R>;
  readonly #kind: string;
  readonly #changes = new Lock();
  #records: readonly R[] | undefined;

  /** @param kind of record, for messages and for the file: `token` */
  constructor(path: string, schema: v.GenericSchema<unknown, R>, kind: string) {
    this.#path = path;
    this.#schema = schema;
    this.#kind = kind;
  }

  /** Records that have been read; none before the first call of `all`. */
  get known(): readonly R[] {
    return this.#records ?? [];
  }

  async all(): Promise<readonly R[]> {
    if (this.#records === undefined) {
      const field = `${this.#kind}s`;
      const value = (await readJson(this.#path)) ?? { [field]: [] };
      const schema = v.strictObject({ [field]: v.array(this.#schema) });
      this.#records = parseSettings(schema, value, this.#path)[field] as R[];
    }
    return this.#records;
  }

  /**
   * Adds a record.
   * @param check throws if the other records conflict with the new one
   * @param prepare called with all records, including the new one, before the file changes
   * @throws AppError `bad_request` if the name is invalid or in use
   */
  add(
    record: R,
    check?: (others: readonly R[]) => void,
    prepare?: (records: readonly R[]) => Promise<unknown>,
  ): Promise<void> {
    const { name } = record;
    if (!namePattern.test(name)) {
      throw new AppError('bad_request', `invalid ${this.#kind} name: "${name}"`, {
        hint: 'Use at most 64 letters, digits, ".", "_" and "-", such as "laptop" or "ci-shop".',
      });
    }
    const add = (records: readonly R[]) => {
      check?.(records);
      if (records.some((other) => other.name === name)) {
        throw new AppError('bad_request', `a ${this.#kind} named "${name}" already exists`, {
          hint: `Choose another name, or remove that ${this.#kind} first.`,
        });
      }
      return [...records, record];
    };
    return this.change(add, prepare);
  }

  /** Removes a record. @returns false if there is none of this name */
  async remove(name: string): Promise<boolean> {
    return (await this.removeWhere((record) => record.name === name)).length > 0;
  }

  /** Removes records. @returns the removed records */
  async removeWhere(matches: (record: R) => boolean): Promise<R[]> {
    let removed: R[] = [];
    await this.change((records) => {
      removed = records.filter(matches);
      return removed.length === 0 ? records : records.filter((record) => !matches(record));
    });
    return removed;
  }

  /** Calls `use` with all records. The next change waits for `use`. */
  between(use: (records: readonly R[]) => Promise<void>): Promise<void> {
    return this.#changes.run(async () => use(await this.all()));
  }

  /**
   * Makes one change at a time, each from the records of the previous one.
   * @param prepare called with the new records before the file changes; prevents the change if it throws
   */
  change(
    change: (records: readonly R[]) => readonly R[],
    prepare?: (records: readonly R[]) => Promise<unknown>,
  ): Promise<void> {
    return this.#changes.run(async () => {
      const before = await this.all();
      const records = change(before);
      if (records === before) return;
      await prepare?.(records);
      await writeJsonAtomic(this.#path, { [`${this.#kind}s`]: records });
      this.#records = records;
    });
  }
}
