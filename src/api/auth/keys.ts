import * as v from 'valibot';
import { NamedRecords } from '../../config/named-records.ts';
import { AppError, systemCode } from '../../errors/app-error.ts';
import { run } from '../../system/process/run.ts';
import type { AuthorizedKeys } from './authorized-keys.ts';

const keySchema = v.strictObject({
  name: v.string(),
  /** the only app it may push to; null for all */
  app: v.nullable(v.string()),
  /** type and base64, as in a .pub file, without its comment */
  key: v.string(),
  /** `SHA256:…`, as ssh shows it */
  fingerprint: v.string(),
  createdAt: v.string(),
});

/** A public key that may push over ssh. */
export type Key = v.InferOutput<typeof keySchema>;

/** The public keys that may push, here and in the file that sshd reads. */
export class KeyStore {
  readonly #keys: NamedRecords<Key>;
  readonly #authorized: AuthorizedKeys;

  constructor(path: string, authorized: AuthorizedKeys) {
    this.#keys = new NamedRecords(path, 'keys', keySchema, 'key');
    this.#authorized = authorized;
  }

  /** Where sshd finds them. */
  get file(): string {
    return this.#authorized.path;
  }

  /** As whom they push. */
  get user(): string {
    return this.#authorized.user;
  }

  async list(): Promise<readonly Key[]> {
    return this.#keys.all();
  }

  async find(name: string): Promise<Key | undefined> {
    return (await this.#keys.all()).find((key) => key.name === name);
  }

  /**
   * @param text the content of a .pub file
   * @throws AppError `invalid_key`, `bad_request` where the name is no name, or taken
   */
  async add(name: string, text: string, app: string | null): Promise<Key> {
    const key = publicKeyIn(text);
    const record: Key = {
      ...{ name, app, key },
      fingerprint: await fingerprintOf(key),
      createdAt: new Date().toISOString(),
    };
    await this.#authorized.assertUnused(key);
    const assertNew = (others: readonly Key[]) => {
      const same = others.find((other) => other.key === key);
      if (same !== undefined) {
        throw invalid(
          `this key is here already, as "${same.name}"`,
          '`sluice keys list` shows what it may do.',
        );
      }
    };
    // sshd's file is written first. If we fail after that, we refuse the key, and the next change removes it from the file.
    await this.#keys.add(record, assertNew, (keys) => this.#authorized.write(keys));
    return record;
  }

  /** @throws AppError `key_not_found` */
  async remove(name: string): Promise<void> {
    if (!(await this.#keys.remove(name))) {
      // An earlier call may have removed the key here and failed before it changed sshd's file.
      await this.synchronize();
      throw new AppError('key_not_found', `there is no key named "${name}"`, {
        hint: '`sluice keys list` shows the ones there are.',
      });
    }
    await this.synchronize();
  }

  /** Removes those that may push to one app alone, which is gone. @returns their names */
  async removeOf(app: string): Promise<string[]> {
    const removed = await this.#keys.removeWhere((key) => key.app === app);
    if (removed.length > 0) await this.synchronize();
    return removed.map(({ name }) => name);
  }

  /** Makes the file that sshd reads say what is so. One without keys that is not there is not made. */
  synchronize(): Promise<void> {
    return this.#keys.between((keys) => this.#authorized.write(keys));
  }
}

/** As OpenSSH names them (sshd(8), AUTHORIZED_KEYS FILE FORMAT); the old ssh-dss is refused by every sshd of today. */
const types =
  /^(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)|sk-(?:ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)$/;

/** Type and base64 of the one key in a text. @throws AppError `invalid_key` */
function publicKeyIn(text: string): string {
  if (/PRIVATE KEY/.test(text)) {
    throw invalid(
      'this is a private key, which must not leave its machine',
      'Send the file beside it that ends in .pub.',
    );
  }
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '' && !line.startsWith('#'));
  if (lines.length !== 1) throw invalid(`there are ${lines.length} keys in it; one at a time is added`);
  const [type = '', base64 = ''] = lines[0]?.trim().split(/\s+/) ?? [];
  if (!types.test(type) || !/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) {
    throw invalid('this is no public key of ssh', 'It is one line that begins like "ssh-ed25519 AAAA…".');
  }
  return `${type} ${base64}`;
}

/** By OpenSSH's own program: what it takes for a key, sshd does. */
async function fingerprintOf(key: string): Promise<string> {
  try {
    const { stdout } = await run('ssh-keygen', ['-l', '-E', 'sha256', '-f', '-'], { input: `${key}\n` });
    return /SHA256:\S+/.exec(stdout)?.[0] ?? '';
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw invalid('ssh-keygen does not take this for a public key');
    throw invalid(
      'there is no ssh-keygen on the server',
      'Without OpenSSH nobody can push over ssh. Debian: `apt-get install openssh-server`.',
    );
  }
}

function invalid(
  message: string,
  hint = 'Send the content of a .pub file, such as ~/.ssh/id_ed25519.pub.',
): AppError {
  return new AppError('invalid_key', message, { hint });
}
