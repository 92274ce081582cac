import * as v from 'valibot';
import { parseSettings } from '../config/load.ts';
import { AppError } from '../errors/app-error.ts';
import { readJson, writeJsonAtomic } from '../system/files.ts';
import { Serial } from '../system/serial.ts';

const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$/;

/** Records with names in one file of mode 0600, `{[field]: [...]}`. Only this process writes it, so it is read once. */
export class NamedRecords<R extends { name: string }> {
  readonly #path: string;
  readonly #field: string;
  readonly #schema: v.GenericSchema<unknown, R>;
  readonly #what: string;
  readonly #changes = new Serial();
  #records: R[] | undefined;

  /** @param what the kind of thing, for messages: `token` */
  constructor(path: string, field: string, schema: v.GenericSchema<unknown, R>, what: string) {
    this.#path = path;
    this.#field = field;
    this.#schema = schema;
    this.#what = what;
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
   * @throws AppError `bad_request` where the name is no name, or taken
   */
  add(record: R, check: (others: readonly R[]) => void = () => undefined): Promise<void> {
    assertName(record.name, this.#what);
    return this.#change((records) => {
      check(records);
      if (records.some(({ name }) => name === record.name)) {
        throw new AppError('bad_request', `there is a ${this.#what} named "${record.name}" already`, {
          hint: 'Choose another name, or remove that one first.',
        });
      }
      return [...records, record];
    });
  }

  /** @returns false where there is none of this name */
  async remove(name: string): Promise<boolean> {
    let found = false;
    await this.#change((records) => {
      const others = records.filter((record) => record.name !== name);
      found = others.length < records.length;
      return others;
    });
    return found;
  }

  /** One change at a time: each starts from what the one before it has written. */
  #change(change: (records: readonly R[]) => R[]): Promise<void> {
    return this.#changes.run(async () => {
      const before = await this.all();
      const records = change(before);
      if (records.length === before.length) return;
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
