/**
 * Preload for a runner that makes calls to the system fail, as they do when descriptors, processes or memory run out. The file
 * named by SLUICE_FAIL_CALLS selects the calls by their place in our code; without the file all calls succeed. Each place that
 * makes calls is logged once, as a line in a file of the same name with `.log` added.
 */
import fs from 'node:fs';
import fsPromises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import net from 'node:net';
import { constants } from 'node:os';
import type { CallFault } from './failing-calls.ts';

const control = process.env['SLUICE_FAIL_CALLS'] as string;
const { readFileSync, appendFileSync } = fs;

type Call = (...args: unknown[]) => unknown;

/** Calls that open a file for a moment at least. */
const opening = ['open', 'readFile', 'writeFile', 'appendFile', 'readdir', 'opendir'];
/** Other calls, which fail without memory. */
const others = ['stat', 'lstat', 'readlink', 'mkdir', 'rmdir', 'rm', 'unlink', 'rename', 'chown', 'access'];

const places = new Set<string>();
/** number of failures of the current fault */
let failed = { id: '', count: 0 };
/** true during a call of ours, and during a call that Node's own code makes inside another one */
let isInside = false;

/** @returns the error to fail with, if this call must fail */
function failureOf(operation: string, needsDescriptor: boolean): NodeJS.ErrnoException | undefined {
  const frame = (new Error('at').stack ?? '').split('\n').find((line) => line.includes('/src/'));
  if (frame === undefined) return undefined;
  const place = `${operation} ${frame.replace(/^.*\/src\//, '').replace(/:\d+\)?$/, '')}`;
  if (!places.has(place)) appendFileSync(`${control}.log`, `${JSON.stringify({ place, needsDescriptor })}\n`);
  places.add(place);
  const fault = readFault();
  if (fault === undefined || fault.place !== place) return undefined;
  if (failed.id !== fault.id) failed = { id: fault.id, count: 0 };
  failed.count += 1;
  if (!fault.lasts && failed.count > 1) return undefined;
  appendFileSync(`${control}.log`, `${JSON.stringify({ failed: fault.id })}\n`);
  const { code } = fault;
  const errno = -constants.errno[code];
  return Object.assign(new Error(`${code}: a test fails this, ${operation}`), {
    code,
    errno,
    syscall: operation,
  });
}

function readFault(): CallFault | undefined {
  try {
    return JSON.parse(readFileSync(control, 'utf8')) as CallFault;
  } catch {
    return undefined;
  }
}

function wrap(
  original: Call,
  name: string,
  needsDescriptor: boolean,
  fail: (error: Error, args: unknown[]) => unknown,
): Call {
  return function (this: unknown, ...args: unknown[]) {
    if (isInside) return Reflect.apply(original, this, args);
    isInside = true;
    try {
      const error = failureOf(name, needsDescriptor);
      return error === undefined ? Reflect.apply(original, this, args) : fail(error, args);
    } finally {
      isInside = false;
    }
  };
}

const throws = (error: Error) => {
  throw error;
};
const callsBack = (error: Error, args: unknown[]) => {
  process.nextTick(args.findLast((arg) => typeof arg === 'function') as Call, error);
};

function patch(
  object: object,
  name: string,
  needsDescriptor: boolean,
  fail: Parameters<typeof wrap>[3],
): void {
  const methods = object as Record<string, Call>;
  const original = methods[name];
  if (original !== undefined) methods[name] = wrap(original, name.replace('Sync', ''), needsDescriptor, fail);
}

for (const name of [...opening, ...others]) {
  const needsDescriptor = opening.includes(name);
  patch(fs, name, needsDescriptor, callsBack);
  patch(fs, `${name}Sync`, needsDescriptor, throws);
  patch(fsPromises, name, needsDescriptor, (error) => Promise.reject(error));
}

/** Fails like libuv: `spawn` of Node.js throws the number as an error, or the child emits the error. */
const { Process } = (
  process as unknown as { binding(name: string): { Process: { prototype: object } } }
).binding('process_wrap');
const launcher = Process.prototype as { spawn(...args: unknown[]): number };
const { spawn } = launcher;
launcher.spawn = function (this: unknown, ...args: unknown[]) {
  const error = failureOf('spawn', true);
  if (error === undefined) return Reflect.apply(spawn, this, args);
  // Without processes, the system has the pipes of the child already, as for a program that is not there. For the other errors,
  // Node.js uses no pipes.
  if (error.code === 'EAGAIN') {
    const [first, ...rest] = args;
    const file = '/does/not/exist';
    Reflect.apply(spawn, this, [typeof first === 'string' ? file : { ...(first as object), file }, ...rest]);
  }
  return error.errno ?? 0;
};

const { connect } = net.Socket.prototype;
net.Socket.prototype.connect = function (this: net.Socket, ...args: unknown[]) {
  const error = isInside ? undefined : failureOf('connect', true);
  if (error === undefined) return Reflect.apply(connect, this, args) as net.Socket;
  process.nextTick(() => this.destroy(error));
  return this;
} as never;

/** Fails like Node.js if the system has a connection, and cannot pass it to the process. */
const { emit } = net.Server.prototype;
net.Server.prototype.emit = function (this: net.Server, event: string, ...args: unknown[]) {
  const error = event === 'connection' ? failureOfAccept(this) : undefined;
  if (error === undefined) return Reflect.apply(emit, this, [event, ...args]) as boolean;
  (args[0] as net.Socket).destroy();
  return Reflect.apply(emit, this, ['error', error]) as boolean;
} as never;

function failureOfAccept(server: net.Server): Error | undefined {
  const fault = readFault();
  const place = `accept ${String(server.address())}`;
  if (!places.has(place))
    appendFileSync(`${control}.log`, `${JSON.stringify({ place, needsDescriptor: true })}\n`);
  places.add(place);
  if (fault?.place !== place) return undefined;
  if (failed.id !== fault.id) failed = { id: fault.id, count: 0 };
  failed.count += 1;
  if (!fault.lasts && failed.count > 1) return undefined;
  appendFileSync(`${control}.log`, `${JSON.stringify({ failed: fault.id })}\n`);
  return Object.assign(new Error(`${fault.code}: a test fails this, accept`), {
    code: fault.code,
    syscall: 'accept',
  });
}

syncBuiltinESMExports();
