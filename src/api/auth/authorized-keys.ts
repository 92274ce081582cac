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

/** `restrict` takes away all that is not the command: terminal, forwarding, and whatever sshd will learn yet. */
const options = 'restrict,command="';

/**
 * The file in which sshd looks for the keys of our user. It may be the one that its owner logs in with, and that another
 * Sluice writes into: only what stands between two lines of ours, and is ours, is changed.
 */
export class AuthorizedKeys {
  readonly path: string;
  /** whose file it is: who pushes says so, as in ssh://USER@HOST/APP */
  readonly user: string;
  readonly #command: string[];
  readonly #mode: number;
  readonly #begin: string;
  readonly #end: string;

  /**
   * @param owner tells one Sluice from another: its home
   * @param command what sshd is to run for whoever has a key, whatever they ask for; the key's name is added to it
   */
  constructor(
    { path, user, mode = 0o600 }: { path: string; user: string; mode?: number },
    owner: string,
    command: string[],
  ) {
    this.path = path;
    this.user = user;
    this.#mode = mode;
    this.#command = command;
    this.#begin = bytes(`# Sluice in ${owner} writes from here: see \`sluice keys\``);
    this.#end = bytes(`# Sluice in ${owner} writes to here`);
  }

  /**
   * A key that logs in as well would be found there first, or, worse, no more: it can be for one of the two only.
   * @throws AppError `invalid_key`
   */
  async assertUnused(key: string): Promise<void> {
    const { before, after } = this.#split(await this.#read());
    if (![...before, ...after].some((line) => !line.startsWith('#') && line.includes(key))) return;
    throw new AppError('invalid_key', `${this.path} has this key already, for something else`, {
      hint: 'A key can log in or push, not both. Make another one for pushing (`ssh-keygen -t ed25519 -f ~/.ssh/deploy`); docs/git.md says how ssh is told which one to take.',
    });
  }

  /** Puts these keys, and no others, between the lines of ours. */
  async write(keys: readonly Key[]): Promise<void> {
    const text = await this.#read();
    const { before, after } = this.#split(text);
    const block = keys.length === 0 ? [] : [this.#begin, ...keys.map((key) => this.#line(key)), this.#end];
    const lines = [...before, ...block, ...after];
    const changed = lines.length === 0 ? '' : `${lines.join('\n')}\n`;
    if (changed === text) return;
    try {
      await ensurePrivateDirectory(dirname(this.path));
      await writeFileAtomic(await this.#target(), Buffer.from(changed, 'latin1'), this.#mode);
    } catch (error) {
      throw this.#explain(error);
    }
  }

  /** That this user may not look at the file, or change it; any other error as it is. */
  #explain(error: unknown): unknown {
    const code = systemCode(error) ?? '';
    if (!['EACCES', 'EPERM', 'EROFS', 'ENOTDIR', 'EISDIR'].includes(code)) return error;
    return new AppError(
      'invalid_settings',
      `${this.path}, where sshd looks for keys, cannot be read and written: ${code}`,
      {
        hint: 'Set "ssh.authorizedKeys" in config.json to a file that this user may write, and name it in sshd_config.',
        cause: error,
      },
    );
  }

  #line({ name, key, app }: Key): string {
    return bytes(`${this.#start}${name}" ${key} ${name}${app === null ? '' : ` for ${app}`}`);
  }

  /** The last word of the command as it is written: the others change with an upgrade. */
  get #socket(): string {
    return this.#words.at(-1) ?? '';
  }

  /** How every line of ours begins; the name of a key needs no quotes. */
  get #start(): string {
    return `${options}${this.#words.join(' ')} `;
  }

  /** The command, for the shell that sshd runs it with, and for the quotes that it stands in. */
  get #words(): string[] {
    return this.#command.map((word) => shellWord(word).replaceAll('"', '\\"'));
  }

  /** Byte by byte: what others have written need not be UTF-8, and must stay as it is. */
  async #read(): Promise<string> {
    try {
      return await readFile(this.path, 'latin1');
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return '';
      throw this.#explain(error);
    }
  }

  /** Where it is a link, the file that it leads to: the link is somebody's way of keeping it elsewhere. */
  async #target(): Promise<string> {
    return (await ifThere(realpath(this.path))) ?? this.path;
  }

  /**
   * The lines that are not ours, before and after where ours stand. A line between ours that we would not have written
   * is somebody's, whatever has become of the lines around it: to lose it might lock them out.
   */
  #split(text: string): { before: string[]; after: string[] } {
    const before: string[] = [];
    const after: string[] = [];
    const isOurs = (line: string) => line.startsWith(options) && line.includes(bytes(`${this.#socket} `));
    let place: 'before' | 'among' | 'after' = 'before';
    for (const line of text.replace(/\n$/, '').split('\n')) {
      if (line === this.#begin) place = 'among';
      else if (line === this.#end) place = 'after';
      else if (place !== 'among' || !isOurs(line)) (place === 'before' ? before : after).push(line);
    }
    return text === '' ? { before: [], after: [] } : { before, after };
  }
}

/** A text as `#read` gives it. */
function bytes(text: string): string {
  return Buffer.from(text).toString('latin1');
}

/** Where sshd finds the keys that may push, and where what it starts for them finds us. */
interface Pushes {
  authorizedKeys: AuthorizedKeys;
  socket: { path: string; mode: number };
}

/**
 * Pushes come in as the user that we are, or as one of their own. That one can read the file and open the socket by its
 * group, which both have from their directory; nothing else of ours is open to it.
 */
export function placeOfPushes(paths: Paths, { ssh }: ServerSettings): Pushes {
  if (ssh.user === undefined) {
    const path = ssh.authorizedKeys.replace(/^~(?=\/)/, homedir());
    const command = [...relay, paths.sshSocket];
    return {
      authorizedKeys: new AuthorizedKeys({ path, user: userInfo().username }, paths.home, command),
      socket: { path: paths.sshSocket, mode: 0o600 },
    };
  }
  const command = [...relay, paths.pushSocket];
  return {
    authorizedKeys: new AuthorizedKeys(
      { path: paths.pushKeys, user: ssh.user, mode: 0o640 },
      paths.home,
      command,
    ),
    socket: { path: paths.pushSocket, mode: 0o660 },
  };
}

/** The command that carries a push to us. */
const relay =
  installedTree === undefined
    ? [process.execPath, fileURLToPath(new URL('../../relay/ssh.cjs', import.meta.url))]
    : [join(installedTree, 'libexec/node'), join(installedTree, 'src/relay/ssh.cjs')];
