import { readFile, realpath } from 'node:fs/promises';
import { dirname } from 'node:path';
import { AppError, systemCode } from '../errors/app-error.ts';
import { ensurePrivateDirectory, writeFileAtomic } from '../system/files.ts';
import type { Key } from './keys.ts';

const begin = '# Sluice writes from here: see `sluice keys`';
const end = '# Sluice writes to here';

/** `restrict` takes away all that is not the command: terminal, forwarding, and whatever sshd will learn yet. */
const options = 'restrict,command="';

/**
 * The file in which sshd looks for the keys of our user. It may be the one that its owner logs in with: only what stands
 * between two lines of ours is changed.
 */
export class AuthorizedKeys {
  readonly path: string;
  readonly #command: (name: string) => string[];

  /** @param command what sshd is to run for whoever has the key of a name, whatever they ask for */
  constructor(path: string, command: (name: string) => string[]) {
    this.path = path;
    this.#command = command;
  }

  /**
   * A key that logs in as well would be found there first, or, worse, no more: it can be for one of the two only.
   * @throws AppError `invalid_key`
   */
  async assertUnused(key: string): Promise<void> {
    const { before, after } = split(await this.#read());
    if (![...before, ...after].some((line) => !line.startsWith('#') && line.includes(key))) return;
    throw new AppError('invalid_key', `${this.path} has this key already: it logs in there`, {
      hint: 'A key can log in or push, not both. Make another one for pushing (`ssh-keygen -t ed25519 -f ~/.ssh/deploy`), or take it out of that file.',
    });
  }

  /** Puts these keys, and no others, between the lines of ours. */
  async write(keys: Key[]): Promise<void> {
    const text = await this.#read();
    const { before, after } = split(text);
    const block = keys.length === 0 ? [] : [begin, ...keys.map((key) => this.#line(key)), end];
    const lines = [...before, ...block, ...after];
    const changed = lines.length === 0 ? '' : `${lines.join('\n')}\n`;
    if (changed === text) return;
    try {
      await ensurePrivateDirectory(dirname(this.path));
      await writeFileAtomic(await this.#target(), changed);
    } catch (error) {
      const code = systemCode(error);
      if (code !== 'EACCES' && code !== 'EPERM' && code !== 'EROFS') throw error;
      throw new AppError(
        'invalid_settings',
        `${this.path}, where sshd looks for keys, cannot be written: ${code}`,
        {
          hint: 'Set "ssh.authorizedKeys" in config.json to a file that this user may write, and name it in sshd_config.',
          cause: error,
        },
      );
    }
  }

  #line({ name, key, app }: Key): string {
    const command = this.#command(name).map(shellWord).join(' ').replaceAll('"', '\\"');
    return `${options}${command}" ${key} ${name}${app === null ? '' : ` for ${app}`}`;
  }

  async #read(): Promise<string> {
    try {
      return await readFile(this.path, 'utf8');
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return '';
      throw error;
    }
  }

  /** Where it is a link, the file that it leads to: the link is somebody's way of keeping it elsewhere. */
  async #target(): Promise<string> {
    try {
      return await realpath(this.path);
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return this.path;
      throw error;
    }
  }
}

/**
 * The lines that are not ours, before and after where ours stand. A line between ours that we would not have written is
 * somebody's, whatever has become of the lines around it: to lose it might lock them out.
 */
function split(text: string): { before: string[]; after: string[] } {
  const before: string[] = [];
  const after: string[] = [];
  let place: 'before' | 'among' | 'after' = 'before';
  for (const line of text.replace(/\n$/, '').split('\n')) {
    if (line === begin) place = 'among';
    else if (line === end) place = 'after';
    else if (place !== 'among' || !line.startsWith(options)) (place === 'before' ? before : after).push(line);
  }
  return text === '' ? { before: [], after: [] } : { before, after };
}

/** For the shell of the user, which sshd runs the command with. */
function shellWord(word: string): string {
  return /^[\w./@:+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
