import * as v from 'valibot';
import { AppError } from '../errors/app-error.ts';
import { Lock } from '../system/concurrency/slots.ts';
import { readJson, writeJsonAtomic } from '../system/fs/files.ts';
import { parseSettings } from './settings-file.ts';

const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$/;

/** Named records in a file of mode 0600, such as `{"tokens": [...]}`. Reads the file once, because only this process writes it. */
export class NamedRecords<R extends { name: string }> {
  readonly #path: string;
  readonly #field: string;
  readonly #schema: v.GenericSchema<unknown, R>;
  readonly #kind: string;
  readonly #checkName: (name: string) => void;
  readonly #changes = new Lock();
  #records: readonly R[] | undefined;

  /**
   * @param kind of record, for messages: `token`
   * @param checkName throws if a name is invalid
   */
  constructor(
    path: string,
    schema: v.GenericSchema<unknown, R>,
    kind: string,
    checkName: (name: string) => void = (name) => assertName(name, kind),
  ) {
    this.#path = path;
    this.#field = `${kind}s`;
    this.#schema = schema;
    this.#kind = kind;
    this.#checkName = checkName;
  }

  async all(): Promise<readonly R[]> {
    if (this.#records === undefined) {
      const value = (await readJson(this.#path)) ?? { [this.#field]: [] };
      const schema = v.strictObject({ [this.#field]: v.array(this.#schema) });
      this.#records = parseSettings(schema, value, this.#path)[this.#field] as R[];
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
    prepare?: (records: readonly R[]) => Promise<void>,
  ): Promise<void> {
    this.#checkName(record.name);
    const add = (records: readonly R[]) => {
      check?.(records);
      if (records.some(({ name }) => name === record.name)) {
        throw new AppError('bad_request', `a ${this.#kind} named "${record.name}" already exists`, {
          hint: `Choose another name, or remove that ${this.#kind} first.`,
        });
      }
      return [...records, record];
    };
    return this.#change(add, prepare);
  }

  /** Replaces the record of the same name, if there is one. */
  replace(record: R): Promise<void> {
    return this.#change((records) => records.map((other) => (other.name === record.name ? record : other)));
  }

  /** Removes a record. @returns false if there is none of this name */
  async remove(name: string): Promise<boolean> {
    return (await this.removeWhere((record) => record.name === name)).length > 0;
  }

  /** Removes records. @returns the removed records */
  async removeWhere(matches: (record: R) => boolean): Promise<R[]> {
    let removed: R[] = [];
    await this.#change((records) => {
      removed = records.filter(matches);
      return removed.length === 0 ? records : records.filter((record) => !matches(record));
    });
    return removed;
  }

  /** Calls `use` with all records. The next change waits for `use`. */
  between(use: (records: readonly R[]) => Promise<void>): Promise<void> {
    return this.#changes.run(async () => use(await this.all()));
  }

  /** Makes one change at a time, each from the records of the previous one. */
  #change(
    change: (records: readonly R[]) => readonly R[],
    prepare?: (records: readonly R[]) => Promise<void>,
  ): Promise<void> {
    return this.#changes.run(async () => {
      const before = await this.all();
      const records = change(before);
      if (records === before) return;
      await prepare?.(records);
      await writeJsonAtomic(this.#path, { [this.#field]: records });
      this.#records = records;
    });
  }
}

function assertName(name: string, kind: string): void {
  if (namePattern.test(name)) return;
  throw new AppError('bad_request', `invalid ${kind} name: "${name}"`, {
    hint: 'Use at most 64 letters, digits, ".", "_" and "-", such as "laptop" or "ci-shop".',
  });
}
