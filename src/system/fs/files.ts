import { writeFileSync } from 'node:fs';
import {
  type FileHandle,
  link,
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
import { dirname } from 'node:path';
import { isRefusedByDisk } from '../../errors/app-error.ts';
import { ifThere } from './exists.ts';
import { temporaryBeside } from './temporaries.ts';

/**
 * Makes a rename or an unlink in `directory` durable. Ignores errors of the disk: readers see the change already, and only a power
 * cut could undo it.
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
 * Replaces a file so that a reader, or a crash at any instant, sees either the old content or the new content. The content is
 * written beside the file, synced and renamed.
 */
export function writeFileAtomic(path: string, content: string | Uint8Array, mode = 0o600): Promise<void> {
  return replace(path, async (temporary) => {
    await using handle = await open(temporary, 'wx', mode);
    // The umask does not apply. In a directory of another user, the path may lead elsewhere by now.
    await handle.chmod(mode);
    await handle.writeFile(content);
    await handle.sync();
  });
}

/** Points the symbolic link `path` at `target`, in one step. */
export function replaceLink(path: string, target: string): Promise<void> {
  return replace(path, (temporary) => symlink(target, temporary));
}

/** Replaces a file in one step, by a new one that `create` makes at another path. */
async function replace(path: string, create: (temporary: string) => Promise<void>): Promise<void> {
  const temporary = temporaryBeside(path);
  try {
    await create(temporary);
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
interface Aside extends AsyncDisposable {
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

/** Parses a JSON file; returns undefined if it does not exist. @throws Error for invalid JSON */
export async function readJson(path: string): Promise<unknown> {
  const text = await ifThere(readFile(path, 'utf8'));
  if (text === undefined) return undefined;
  try {
    return parseJson(text);
  } catch (error) {
    // The parser's message quotes the text, which may have secrets.
    const cause = new SyntaxError(withoutQuote((error as Error).message));
    throw new Error(`${path} is not valid JSON: ${cause.message}`, { cause });
  }
}

/** Parses a JSON file; returns undefined if it does not exist or is damaged: for what can be made again, or must not block other work. */
export async function readUndamagedJson(path: string): Promise<unknown> {
  try {
    return await readJson(path);
  } catch (error) {
    if (error instanceof Error && error.cause instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** Returns the message of a JSON parser without the quoted text at its end. */
function withoutQuote(message: string): string {
  return message.replace(/, (\.\.\.)?".*$/s, '');
}

/** Parses JSON. Ignores the byte order mark of editors on Windows, as npm and Node.js do. @throws SyntaxError */
export function parseJson(text: string): unknown {
  return JSON.parse(text.replace(/^\uFEFF/, ''));
}

/** Returns the target of a symbolic link, or undefined if it does not exist. */
export function readLink(path: string): Promise<string | undefined> {
  return ifThere(readlink(path));
}

/** Lists the names in a directory; none if it does not exist. */
export async function listDirectory(path: string): Promise<string[]> {
  return (await ifThere(readdir(path))) ?? [];
}

/** Creates a directory that only its owner may enter, and its parents, if they do not exist. */
export async function ensurePrivateDirectory(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
}

/**
 * Creates a file and syncs it to the disk.
 * @throws the error of the system, such as EEXIST
 */
export function writeSynced(path: string, content: string, mode: number): void {
  writeFileSync(path, content, { flag: 'wx', mode, flush: true });
}

/** Returns the bytes that an unprivileged process may still write on the file system of `path`. */
export async function freeBytes(path: string): Promise<number> {
  const { bavail, bsize } = await statfs(path);
  return bavail * bsize;
}

/** Returns true if the last line of a file has no line end: a kill or a full disk has cut the line. */
export async function hasTornLine(file: FileHandle): Promise<boolean> {
  const { size } = await file.stat();
  if (size === 0) return false;
  const { buffer } = await file.read(Buffer.alloc(1), 0, 1, size - 1);
  return buffer[0] !== 0x0a;
}
