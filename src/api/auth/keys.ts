import * as v from 'valibot';
import { NamedRecords } from '../../config/named-records.ts';
import { AppError, systemCode } from '../../errors/app-error.ts';
import { run } from '../../system/process/run.ts';
import type { AuthorizedKeys } from './authorized-keys.ts';

const keySchema = v.strictObject({
  name: v.string(),
  /** only app that the key may push to; null for all apps */
  app: v.nullable(v.string()),
  /** type and base64, as in a .pub file, without its comment */
  key: v.string(),
  /** `SHA256:…`, as ssh prints it */
  fingerprint: v.string(),
  createdAt: v.string(),
});

/** Public key that may push over ssh. */
export type Key = v.InferOutput<typeof keySchema>;

/** Store of the public keys that may push. Keeps the file of sshd in step. */
export class KeyStore {
  /** file that sshd reads */
  readonly authorized: AuthorizedKeys;
  readonly #keys: NamedRecords<Key>;

  constructor(path: string, authorized: AuthorizedKeys) {
    this.#keys = new NamedRecords(path, keySchema, 'key');
    this.authorized = authorized;
  }

  list(): Promise<readonly Key[]> {
    return this.#keys.all();
  }

  async find(name: string): Promise<Key | undefined> {
    return (await this.list()).find((key) => key.name === name);
  }

  /**
   * Adds a key.
   * @param text content of a .pub file
   * @throws AppError `invalid_key`; `bad_request` if the name is invalid or in use
   */
  async add(name: string, text: string, app: string | null): Promise<Key> {
    const key = publicKeyIn(text);
    const record: Key = {
      ...{ name, app, key },
      fingerprint: await fingerprintOf(key),
      createdAt: new Date().toISOString(),
    };
    await this.authorized.assertUnused(key);
    const assertNew = (others: readonly Key[]) => {
      const same = others.find((other) => other.key === key);
      if (same !== undefined) {
        throw invalid(
          `the server already has this key, as "${same.name}"`,
          'See what the key may do: `sluice keys list`',
        );
      }
    };
    // sshd's file is written first. If we fail after that, we refuse the key, and the next change removes it from the file.
    await this.#keys.add(record, assertNew, (keys) => this.authorized.write(keys));
    return record;
  }

  /** Removes a key. @throws AppError `key_not_found` */
  async remove(name: string): Promise<void> {
    const isRemoved = await this.#keys.remove(name);
    // An earlier call may have removed the key here and failed before it changed sshd's file.
    await this.synchronize();
    if (isRemoved) return;
    throw new AppError('key_not_found', `key "${name}" not found`, { hint: 'List keys: `sluice keys list`' });
  }

  /** Removes the keys of an app that was removed, and returns their names. */
  async removeOf(app: string): Promise<string[]> {
    const removed = await this.#keys.removeWhere((key) => key.app === app);
    if (removed.length > 0) await this.synchronize();
    return removed.map(({ name }) => name);
  }

  /** Writes our keys to the file of sshd. Creates no file if there are no keys. */
  synchronize(): Promise<void> {
    return this.#keys.between((keys) => this.authorized.write(keys));
  }
}

/** Key types of OpenSSH (sshd(8), AUTHORIZED_KEYS FILE FORMAT), without ssh-dss, which current versions refuse. */
const types =
  /^(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)|sk-(?:ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)$/;

/** Returns type and base64 of the only key in a text. @throws AppError `invalid_key` */
function publicKeyIn(text: string): string {
  if (/PRIVATE KEY/.test(text)) {
    throw invalid(
      'this is a private key, which must not leave its machine',
      'Send the file beside it that ends in .pub.',
    );
  }
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '' && !line.startsWith('#'));
  if (lines.length !== 1) throw invalid(`the text has ${lines.length} keys (expected 1)`);
  const [type = '', base64 = ''] = lines[0]?.trim().split(/\s+/) ?? [];
  if (!types.test(type) || !/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) {
    throw invalid(
      'this is not a public key of ssh',
      'A public key is one line, such as "ssh-ed25519 AAAA…".',
    );
  }
  return `${type} ${base64}`;
}

/** Returns the fingerprint of a key. OpenSSH's own program computes it, and accepts the same keys as sshd. */
async function fingerprintOf(key: string): Promise<string> {
  try {
    const { stdout } = await run('ssh-keygen', ['-l', '-E', 'sha256', '-f', '-'], { input: `${key}\n` });
    return /SHA256:\S+/.exec(stdout)?.[0] ?? '';
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw invalid('ssh-keygen does not accept this public key');
    throw invalid(
      'ssh-keygen not found on the server',
      'Install OpenSSH: pushes over ssh need it (Debian: `apt-get install openssh-server`).',
    );
  }
}

function invalid(
  message: string,
  hint = 'Send the content of a .pub file, such as ~/.ssh/id_ed25519.pub.',
): AppError {
  return new AppError('invalid_key', message, { hint });
}
