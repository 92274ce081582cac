import { randomBytes } from 'node:crypto';
import { closeSync, fsyncSync, openSync, writeFileSync } from 'node:fs';
import {
  link,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  statfs,
  symlink,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isRefusedByDisk } from '../../errors/app-error.ts';
import { isAlive } from '../process/processes.ts';
import { ifThere } from './exists.ts';
import { removeTree } from './remove-tree.ts';

/** A name beside `path` that nobody else uses, for content that is renamed to `path` when whole. */
export function temporaryBeside(path: string): string {
  return join(dirname(path), `.tmp-${process.pid}-${randomBytes(6).toString('hex')}`);
}

/** Whether a name is one that `temporaryBeside` gives. */
export function isTemporary(name: string): boolean {
  return temporaryName.test(name);
}

const temporaryName = /^\.tmp-(\d+)-[0-9a-f]{12}$/;

/**
 * Removes what writers that were killed have left in `directory`. Files of other processes that live are theirs;
 * ones with our own pid are of an earlier process that had it, as is usual in containers: call it before writing.
 */
export async function sweepTemporaries(directory: string): Promise<void> {
  for (const name of await leftTemporaries(directory)) {
    await removeTree(join(directory, name)).catch(async (error: unknown) => {
      // What a command of root's has left is for the next one to remove, and must not keep us from our work.
      if ((await lstat(join(directory, name))).uid === process.getuid?.()) throw error;
    });
  }
}

/** Names of what writers that were killed have left in a directory. */
export async function leftTemporaries(directory: string): Promise<string[]> {
  return (await listDirectory(directory)).filter((name) => {
    const pid = Number(temporaryName.exec(name)?.[1]);
    return pid === process.pid || (pid > 0 && !isAlive(pid));
  });
}

/**
 * Makes a rename or an unlink in `directory` durable. An error of the disk is no error here: readers see the change already,
 * and only a power cut could undo it.
 */
export async function syncDirectory(directory: string): Promise<void> {
  try {
    await using handle = await open(directory, 'r');
    await handle.sync();
  } catch (error) {
    if (!isRefusedByDisk(error)) throw error;
  }
}

/**
 * Replaces a file so that a reader, or a crash at any instant, sees either the old content or the new: written
 * beside it, synced, renamed. `mode` defaults to 0600: most of what we keep is nobody else's business.
 */
export async function writeFileAtomic(
  path: string,
  content: string | Uint8Array,
  mode = 0o600,
): Promise<void> {
  const temporary = temporaryBeside(path);
  try {
    const handle = await open(temporary, 'wx', mode);
    try {
      // What is to be readable for others is so under any umask.
      await handle.chmod(mode);
      await handle.writeFile(content);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await discard(temporary);
    throw error;
  }
  await syncDirectory(dirname(path));
}

/** Removes the temporary file of a failed write. If the disk refuses that too, the next start removes the file. */
async function discard(temporary: string): Promise<void> {
  await rm(temporary, { force: true }).catch((error: unknown) => {
    if (!isRefusedByDisk(error)) throw error;
  });
}

/** Content of a file before a change, to take the change back. */
export interface Aside extends AsyncDisposable {
  /** Puts the content back in one step, which takes no disk space. */
  restore(): Promise<void>;
}

/** Keeps the content of the file `path`, or the fact that it does not exist, until the result is disposed of. */
export async function keepAside(path: string): Promise<Aside> {
  const aside = temporaryBeside(path);
  const isThere = (await ifThere(link(path, aside).then(() => true))) ?? false;
  return {
    async restore() {
      await (isThere ? rename(aside, path) : rm(path, { force: true }));
      await syncDirectory(dirname(path));
    },
    // Needed after `restore`, too: a rename between two names of the same file changes nothing.
    [Symbol.asyncDispose]: () => discard(aside),
  };
}

export function writeJsonAtomic(path: string, value: unknown, mode = 0o600): Promise<void> {
  return writeFileAtomic(path, `${JSON.stringify(value, null, 2)}\n`, mode);
}

/** The parsed content of a JSON file, or undefined where there is none. A file that is no JSON is an error. */
export async function readJson(path: string): Promise<unknown> {
  const text = await ifThere(readFile(path, 'utf8'));
  if (text === undefined) return undefined;
  try {
    return parseJson(text);
  } catch (error) {
    // The parser's message quotes the text, which may hold secrets.
    const cause = new SyntaxError(withoutQuote((error as Error).message));
    throw new Error(`${path} is not valid JSON: ${cause.message}`, { cause });
  }
}

/** Returns the message of a JSON parser without the quoted text at its end. */
function withoutQuote(message: string): string {
  return message.replace(/, (\.\.\.)?".*$/s, '');
}

/**
 * JSON without the byte order mark that editors on Windows put before it: npm and Node.js take no notice of it either.
 * @throws SyntaxError
 */
export function parseJson(text: string): unknown {
  return JSON.parse(text.replace(/^\uFEFF/, ''));
}

/** Points the symbolic link `path` at `target`, replacing what was there in one step. */
export async function replaceLink(path: string, target: string): Promise<void> {
  const temporary = temporaryBeside(path);
  await symlink(target, temporary);
  try {
    await rename(temporary, path);
  } catch (error) {
    await discard(temporary);
    throw error;
  }
  await syncDirectory(dirname(path));
}

/** What a symbolic link points at, or undefined where there is none. */
export function readLink(path: string): Promise<string | undefined> {
  return ifThere(readlink(path));
}

/** The names in a directory; none where it does not exist. */
export async function listDirectory(path: string): Promise<string[]> {
  return (await ifThere(readdir(path))) ?? [];
}

/** Creates a directory that only its owner may enter, parents included; harmless where it is there. */
export async function ensurePrivateDirectory(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
}

/**
 * Creates a file and syncs it to the disk.
 * @throws the error of the system, such as EEXIST
 */
export function writeSynced(path: string, content: string, mode: number): void {
  const descriptor = openSync(path, 'wx', mode);
  try {
    writeFileSync(descriptor, content);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** Returns the bytes that an unprivileged process may still write on the file system of `path`. */
export async function freeBytes(path: string): Promise<number> {
  const { bavail, bsize } = await statfs(path);
  return bavail * bsize;
}
