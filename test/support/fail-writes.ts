/**
 * Preload for a server or a runner that makes writes below its home fail: like a full (ENOSPC), a read-only (EROFS) or a
 * broken disk (EIO). The file named by SLUICE_FAIL_WRITES selects the writes; without the file all writes succeed. Counted
 * writes are logged as lines in a file of the same name with `.log` added. A runner that the server starts has the preload, too.
 */
import childProcess from 'node:child_process';
import fs from 'node:fs';
import fsPromises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import net from 'node:net';
import { basename, dirname, resolve } from 'node:path';
import { Paths } from '../../src/config/paths.ts';
import type { Fault } from './failing-disk.ts';

const control = process.env['SLUICE_FAIL_WRITES'] as string;
const { home, run } = new Paths(process.env['SLUICE_HOME'] as string);
const processName = /\b(server|runner)\/(?:up|unit|main)\.ts$/.exec(process.argv[1] ?? '')?.[1];

type Kind = 'create' | 'write' | 'sync' | 'replace' | 'remove' | 'change' | 'none';
type Call = (...args: unknown[]) => unknown;

/** Calls that each kind of disk refuses: a full disk can still remove and replace, a read-only disk has nothing to sync. */
const refused: Record<Fault['code'], Kind[]> = {
  ENOSPC: ['create', 'write', 'sync'],
  EROFS: ['create', 'write', 'replace', 'remove', 'change'],
  EIO: ['create', 'write', 'sync', 'replace', 'remove', 'change'],
};
const errno = { ENOSPC: -28, EROFS: -30, EIO: -5 };

const { readFileSync, appendFileSync, existsSync, lstatSync, readlinkSync, writeFileSync } = fs;
let counted = { id: '', writes: 0 };
/** true during a call that is counted already: Node's own code makes more calls inside it */
let isInside = false;

/** Counts a write. @returns the error to fail with, if the write must fail */
function failureOf(operation: string, kind: Kind, path: string): Error | undefined {
  const fault = readFault();
  if (fault === undefined || fault.process !== processName) return undefined;
  if (!refused[fault.code].includes(kind) || !isBelow(path)) return undefined;
  if (fault.path !== undefined && !path.includes(fault.path)) return undefined;
  if (counted.id !== fault.id) counted = { id: fault.id, writes: 0 };
  counted.writes += 1;
  const failed = counted.writes >= fault.from && (fault.lasts || counted.writes === fault.from);
  const stack = (new Error('at').stack ?? '').split('\n').filter((line) => line.includes('/src/'));
  const at = stack.map((line) => line.trim().replace(/^.*\/src\//, ''));
  const write = { id: fault.id, n: counted.writes, failed, operation, path, at };
  appendFileSync(`${control}.log`, `${JSON.stringify(write)}\n`);
  if (!failed) return undefined;
  const { code } = fault;
  return Object.assign(new Error(`${code}: a test fails this, ${operation} '${path}'`), {
    ...{ code, errno: errno[code], syscall: operation, path },
  });
}

function readFault(): Fault | undefined {
  try {
    return JSON.parse(readFileSync(control, 'utf8')) as Fault;
  } catch {
    return undefined;
  }
}

function isBelow(path: string): boolean {
  const real = path.replace(/^\/proc\/(?:self|\d+)\/fd\/(\d+)/, (_, fd) => pathOf(Number(fd)));
  return [home, run].some((directory) => real === directory || real.startsWith(`${directory}/`));
}

function pathOf(fd: number): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return '';
  }
}

function isThere(path: string): boolean {
  try {
    return lstatSync(path) !== undefined;
  } catch {
    return false;
  }
}

/** Function that returns the path of a call, and the kind of change that the call makes to the disk. */
type Judge = (...args: never[]) => { path: string; kind: Kind };

const text = (path: unknown) => resolve(String(path));
const creates = (path: unknown) =>
  ({ path: text(path), kind: isThere(text(path)) ? 'none' : 'create' }) as const;
const removes = (path: unknown) =>
  ({ path: text(path), kind: isThere(text(path)) ? 'remove' : 'none' }) as const;
const changes = (path: unknown) => ({ path: text(path), kind: 'change' }) as const;
const target = (_: unknown, path: unknown) => ({ path: text(path), kind: 'create' }) as const;
const renames = (_: unknown, path: unknown) =>
  ({ path: text(path), kind: isThere(text(path)) ? 'replace' : 'create' }) as const;
const writes = (file: unknown) =>
  ({ path: typeof file === 'number' ? pathOf(file) : text(file), kind: 'write' }) as const;
const syncs = (fd: number) => ({ path: pathOf(fd), kind: 'sync' }) as const;
const opens = (path: unknown, flags: unknown = 'r') => {
  const { O_WRONLY, O_RDWR, O_CREAT } = fs.constants;
  const isFifo = isThere(text(path)) && !fs.statSync(text(path), { throwIfNoEntry: false })?.isFile();
  const [toWrite, toCreate] =
    typeof flags === 'number'
      ? [(flags & (O_WRONLY | O_RDWR)) !== 0, (flags & O_CREAT) !== 0]
      : [/[wa+]/.test(String(flags)), /[wa]/.test(String(flags))];
  if (!toWrite || isFifo) return { path: text(path), kind: 'none' } as const;
  if (isThere(text(path))) return { path: text(path), kind: 'change' } as const;
  return { path: text(path), kind: toCreate ? 'create' : 'none' } as const;
};

const judges: Record<string, Judge> = {
  ...{ mkdir: creates, mkdtemp: creates, symlink: target, link: target, copyFile: target, cp: target },
  ...{ rename: renames, rm: removes, unlink: removes, rmdir: removes },
  ...{ chmod: changes, chown: changes, lchown: changes, utimes: changes, truncate: changes },
  ...{ writeFile: writes, appendFile: writes, write: writes, writev: writes },
  ...{ fsync: syncs, fdatasync: syncs, open: opens },
};

/** Writes a part of the content, as a disk does that fills up during a write. */
function leavePart(name: string, path: string, [file, data]: unknown[]): void {
  if (name !== 'writeFile' || typeof file !== 'string' || text(file) !== path) return;
  if (isThere(file) || !existsSync(dirname(file))) return;
  if (readFault()?.code === 'ENOSPC') writeFileSync(file, String(data).slice(0, String(data).length / 2));
}

function wrap(
  original: Call,
  name: string,
  judge: Judge,
  fail: (error: Error, args: unknown[]) => unknown,
): Call {
  return function (this: unknown, ...args: unknown[]) {
    if (isInside) return Reflect.apply(original, this, args);
    isInside = true;
    try {
      const { path, kind } = Reflect.apply(judge, this, args as never[]);
      const error = failureOf(name, kind, path);
      if (error === undefined) return Reflect.apply(original, this, args);
      leavePart(name, path, args);
      return fail(error, args);
    } finally {
      isInside = false;
    }
  };
}

const throws = (error: Error) => {
  throw error;
};
const rejects = (error: Error) => Promise.reject(error);
const callsBack = (error: Error, args: unknown[]) => {
  process.nextTick(args.findLast((arg) => typeof arg === 'function') as Call, error);
};

const patch = (object: object, name: string, judge: Judge, fail: Parameters<typeof wrap>[3]) => {
  const methods = object as Record<string, Call>;
  const original = methods[name];
  if (original !== undefined) methods[name] = wrap(original, name.replace('Sync', ''), judge, fail);
};

for (const [name, judge] of Object.entries(judges)) {
  patch(fs, name, judge, callsBack);
  patch(fs, `${name}Sync`, judge, throws);
  patch(fsPromises, name, judge, rejects);
}
const handle = await fsPromises.open('/dev/null');
const ofHandle = (kind: Kind): Judge =>
  function (this: { fd: number }) {
    return { path: pathOf(this.fd), kind };
  };
for (const name of ['write', 'writev', 'writeFile', 'appendFile'])
  patch(Object.getPrototypeOf(handle), name, ofHandle('write'), rejects);
for (const name of ['sync', 'datasync'])
  patch(Object.getPrototypeOf(handle), name, ofHandle('sync'), rejects);
for (const name of ['chmod', 'chown', 'truncate', 'utimes'])
  patch(Object.getPrototypeOf(handle), name, ofHandle('change'), rejects);
await handle.close();

const ofSocket = (options: unknown) => {
  const path = typeof options === 'string' ? options : (options as { path?: string } | undefined)?.path;
  return {
    path: path === undefined ? '' : text(path),
    kind: path === undefined ? 'none' : 'create',
  } as const;
};
const listen = net.Server.prototype.listen as Call;
net.Server.prototype.listen = function (this: net.Server, ...args: unknown[]) {
  const { path, kind } = ofSocket(args[0]);
  const error = failureOf('listen', kind, path);
  if (error === undefined) return Reflect.apply(listen, this, args) as net.Server;
  process.nextTick(() => this.emit('error', error));
  return this;
} as never;

/**
 * Preloads this file into the runner, too: the server passes no NODE_OPTIONS on. Counts FIFOs as well: the runner starts a
 * program to make them, since Node.js has no call for FIFOs.
 */
const { spawn } = childProcess;
childProcess.spawn = ((command: string, args: string[], options: { env?: NodeJS.ProcessEnv }) => {
  const isFifo = basename(command) === 'mkfifo';
  const error = isFifo ? failureOf('mkfifo', 'create', String(args.at(-1))) : undefined;
  if (error !== undefined) throw error;
  const isRunner = args.some((arg) => arg.endsWith('runner/main.ts'));
  const env = { ...options.env, NODE_OPTIONS: process.env['NODE_OPTIONS'] };
  return Reflect.apply(spawn, undefined, [command, args, isRunner ? { ...options, env } : options]);
}) as never;

syncBuiltinESMExports();
