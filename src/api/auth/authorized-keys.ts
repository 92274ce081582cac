import { readFile, realpath } from 'node:fs/promises';
import { homedir, userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { installedTree } from '../../config/installed.ts';
import type { Paths } from '../../config/paths.ts';
import type { ServerSettings } from '../../config/server-settings.ts';
import { AppError, systemCode } from '../../errors/app-error.ts';
import { ifThere } from '../../system/fs/exists.ts';
import { ensurePrivateDirectory, writeFileAtomic } from '../../system/fs/files.ts';
import { shellWord } from '../../system/text/format.ts';
import type { Key } from './keys.ts';

/** Options of a key. `restrict` forbids all but the command: terminals, forwarding, and features of later versions of sshd. */
const options = 'restrict,command="';

/**
 * File from which sshd reads the keys of a user. The owner may log in with keys in the same file, and another Sluice may write to
 * it: only our own lines change.
 */
export class AuthorizedKeys {
  readonly path: string;
  /** user of the file, as in ssh://USER@HOST/APP */
  readonly user: string;
  readonly #command: string[];
  readonly #mode: number;
  readonly #begin: string;
  readonly #end: string;

  /**
   * @param owner name of this Sluice: its home
   * @param command program that sshd runs for each key, whatever the client asks for; its last argument is the key's name
   */
  constructor(
    { path, user, mode = 0o600 }: { path: string; user: string; mode?: number },
    owner: string,
    command: string[],
  ) {
    this.path = path;
    this.user = user;
    this.#mode = mode;
    // The shell of sshd reads the command, inside double quotes.
    this.#command = command.map((word) => shellWord(word).replaceAll('"', '\\"'));
    this.#begin = bytes(`# Sluice in ${owner} writes from here: see \`sluice keys\``);
    this.#end = bytes(`# Sluice in ${owner} writes to here`);
  }

  /**
   * Checks that the file has no other line with a key. sshd takes the first of two lines, so a key can log in or push, not both.
   * @throws AppError `invalid_key`
   */
  async assertUnused(key: string): Promise<void> {
    const lines = linesOf(await this.#read());
    const isOther = (line: string) => !line.startsWith('#') && !this.#isOurs(line) && line.includes(key);
    if (!lines.some(isOther)) return;
    throw new AppError('invalid_key', `${this.path} already has this key for another purpose`, {
      hint: 'A key can log in or push, not both. Make another key for pushing: `ssh-keygen -t ed25519 -f ~/.ssh/deploy`. docs/git.md shows how ssh selects it.',
    });
  }

  /** Replaces our lines with lines for these keys. Other lines keep their bytes and their order. */
  async write(keys: readonly Key[]): Promise<void> {
    const text = await this.#read();
    const lines = linesOf(text);
    const ours = keys.length === 0 ? [] : [this.#begin, ...keys.map((key) => this.#line(key)), this.#end];
    const others = lines.filter((line) => !this.#isOurs(line));
    const first = lines.findIndex((line) => this.#isOurs(line));
    const changed = others.toSpliced(first === -1 ? others.length : first, 0, ...ours);
    const newText = changed.map((line) => `${line}\n`).join('');
    if (newText === text) return;
    try {
      await ensurePrivateDirectory(dirname(this.path));
      // The owner may keep the file elsewhere, behind a link.
      const file = (await ifThere(realpath(this.path))) ?? this.path;
      await writeFileAtomic(file, Buffer.from(newText, 'latin1'), this.#mode);
    } catch (error) {
      throw this.#explain(error);
    }
  }

  /** Returns the text of the file, one character for each byte: the lines of others may not be UTF-8. */
  async #read(): Promise<string> {
    try {
      return await readFile(this.path, 'latin1');
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return '';
      throw this.#explain(error);
    }
  }

  #line({ name, key, app }: Key): string {
    return bytes(
      `${options}${this.#command.join(' ')} ${name}" ${key} ${name}${app === null ? '' : ` for ${app}`}`,
    );
  }

  /** Returns true for the lines that we wrote. An upgrade changes the command, but not its last word, our socket. */
  #isOurs(line: string): boolean {
    // With spaces: the path of another socket may end like ours.
    const socket = bytes(` ${this.#command.at(-1)} `);
    return line === this.#begin || line === this.#end || (line.startsWith(options) && line.includes(socket));
  }

  /** Returns the error to report if we may not read or write the file; any other error unchanged. */
  #explain(error: unknown): unknown {
    const code = systemCode(error) ?? '';
    if (!['EACCES', 'EPERM', 'EROFS', 'ENOTDIR', 'EISDIR'].includes(code)) return error;
    return new AppError(
      'invalid_settings',
      `the file of sshd's keys, ${this.path}, cannot be read and written: ${code}`,
      {
        hint: 'Set "ssh.authorizedKeys" in config.json to a file that this user may write, and name it in sshd_config.',
        cause: error,
      },
    );
  }
}

/** Returns the bytes of a text as characters, like `#read`. */
function bytes(text: string): string {
  return Buffer.from(text).toString('latin1');
}

function linesOf(text: string): string[] {
  return text === '' ? [] : text.replace(/\n$/, '').split('\n');
}

/** Command that carries a push to the server. */
const relay =
  installedTree === undefined
    ? [process.execPath, fileURLToPath(new URL('../../relay/ssh.cjs', import.meta.url))]
    : [join(installedTree, 'libexec/node'), join(installedTree, 'src/relay/ssh.cjs')];

/** Access of clients over ssh: the file that sshd reads, and the socket that the relay connects to. */
interface SshAccess {
  authorizedKeys: AuthorizedKeys;
  socket: { path: string; mode: number };
}

/**
 * Returns the access over ssh. Clients log in as Sluice's own user, or as the push user. The push user reads the file and opens the
 * socket through its group. New files inherit the group of their directory. The push user has no other access.
 */
export function sshAccess(paths: Paths, { ssh }: ServerSettings): SshAccess {
  if (ssh.user !== undefined) {
    const file = { path: paths.pushKeys, user: ssh.user, mode: 0o640 };
    const authorizedKeys = new AuthorizedKeys(file, paths.home, [...relay, paths.pushSocket]);
    return { authorizedKeys, socket: { path: paths.pushSocket, mode: 0o660 } };
  }
  const file = { path: ssh.authorizedKeys.replace(/^~(?=\/)/, homedir()), user: userInfo().username };
  const authorizedKeys = new AuthorizedKeys(file, paths.home, [...relay, paths.sshSocket]);
  return { authorizedKeys, socket: { path: paths.sshSocket, mode: 0o600 } };
}
