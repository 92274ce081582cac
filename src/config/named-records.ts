import * as v from 'valibot';
import { AppError } from '../errors/app-error.ts';
import { Slots } from '../system/concurrency/slots.ts';
import { readJson, writeJsonAtomic } from '../system/fs/files.ts';
import { parseSettings } from './settings-file.ts';

const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$/;

/** Records with names in one file of mode 0600, `{[field]: [...]}`. Only this process writes it, so it is read once. */
export class NamedRecords<R extends { name: string }> {
  readonly #path: string;
  readonly #field: string;
  readonly #schema: v.GenericSchema<unknown, R>;
  readonly #what: string;
  readonly #checkName: (name: string) => void;
  readonly #changes = new Slots(1);
  #records: readonly R[] | undefined;

  /**
   * @param what the kind of thing, for messages: `token`
   * @param checkName throws where something cannot be the name of one
   */
  constructor(
    path: string,
    field: string,
    schema: v.GenericSchema<unknown, R>,
    what: string,
    checkName: (name: string) => void = (name) => assertName(name, what),
  ) {
    this.#path = path;
    this.#field = field;
    this.#schema = schema;
    this.#what = what;
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
   * @param check may throw, given the ones there are
   * @param prepare called with all records, the new one included, before they are written
   * @throws AppError `bad_request` where the name is no name, or taken
   */
  add(
    record: R,
    check: (others: readonly R[]) => void = () => undefined,
    prepare: (records: readonly R[]) => Promise<void> = async () => undefined,
  ): Promise<void> {
    this.#checkName(record.name);
    const add = (records: readonly R[]) => {
      check(records);
      if (records.some(({ name }) => name === record.name)) {
        throw new AppError('bad_request', `there is a ${this.#what} named "${record.name}" already`, {
          hint: 'Choose another name, or remove that one first.',
        });
      }
      return [...records, record];
    };
    return this.#change(add, prepare);
  }

  /** Replaces the one of this name; nothing happens where there is none. */
  replace(record: R): Promise<void> {
    return this.#change((records) => records.map((other) => (other.name === record.name ? record : other)));
  }

  /** @returns false where there is none of this name */
  async remove(name: string): Promise<boolean> {
    return (await this.removeWhere((record) => record.name === name)).length > 0;
  }

  /** @returns those that were removed */
  async removeWhere(leaves: (record: R) => boolean): Promise<R[]> {
    let removed: R[] = [];
    await this.#change((records) => {
      removed = records.filter(leaves);
      return removed.length === 0 ? records : records.filter((record) => !leaves(record));
    });
    return removed;
  }

  /** Calls `use` with all records; the next change waits until `use` is done. */
  between(use: (records: readonly R[]) => Promise<void>): Promise<void> {
    return this.#changes.run(async () => use(await this.all()));
  }

  /** One change at a time: each starts from what the one before it has written. */
  #change(
    change: (records: readonly R[]) => readonly R[],
    prepare: (records: readonly R[]) => Promise<void> = async () => undefined,
  ): Promise<void> {
    return this.#changes.run(async () => {
      const before = await this.all();
      const records = change(before);
      if (records === before) return;
      await prepare(records);
      await writeJsonAtomic(this.#path, { [this.#field]: records });
      this.#records = records;
    });
  }
}

function assertName(name: string, what: string): void {
  if (namePattern.test(name)) return;
  throw new AppError('bad_request', `"${name}" cannot name a ${what}`, {
    hint: 'Letters, digits, ".", "_" and "-", at most 64 of them, such as "laptop" or "ci-shop".',
  });
}
