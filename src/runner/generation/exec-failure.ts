import { readlink } from 'node:fs/promises';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AppError } from '../../errors/app-error.ts';
import type { GenerationSpec } from '../../protocol/runner.ts';
import { type Listener, listListeners } from '../../system/net/listeners.ts';
import { processName } from '../../system/process/processes.ts';
import { formatDuration } from '../../system/text/format.ts';
import { describeExit, type Exit } from '../exit.ts';
import { descendantsOf } from '../tree-figures.ts';
import { failure } from './startup-failure.ts';
import type { WorkerHandle } from './worker-handle.ts';

/** Interval between two checks whether a process has the app's port without Sluice, in ms. */
const checkInterval = 1000;

/** Programs that run the commands of others. */
const shells = new Set(['sh', 'dash', 'bash', 'ash', 'busybox', 'env']);

/** Name of the main thread of Node.js, and so of its process. An app may set another one. */
const nodeThread = /^(node(js)?|(node-)?MainThread)$/;

const onlyNode =
  'Sluice runs Node.js programs only. Name a command that starts the Node.js server of the app as "start" in sluice.json.';

/**
 * Waits until a process of an exec worker listens on the app's port without Sluice: the worker will never be ready.
 * @returns a function that describes the failure
 */
export async function foreignListener(
  worker: WorkerHandle,
  { port }: GenerationSpec,
  signal: AbortSignal,
): Promise<() => Promise<AppError>> {
  for (;;) {
    await sleep(checkInterval, undefined, { signal, ref: false });
    const [found] = await foreignListeners(worker, { port, signal });
    if (found !== undefined) return () => foreign(worker, found);
  }
}

/** Returns the error for a command that ends before one of its processes listens. */
export function exited(worker: WorkerHandle, spec: GenerationSpec, exit: Exit): Promise<AppError> {
  const { port } = spec;
  const output = worker.output.everything.lines().join('\n');
  const message = `the command ${describeExit(exit)} before it listened`;
  // Node.js names the code of the error, and most other programs its text only.
  if (/address (already )?in use/i.test(output) && !output.includes('EADDRINUSE')) {
    const hint = `No other program can listen on port ${port}, because Sluice has it. ${onlyNode}`;
    return failure(worker, 'unsupported_start', message, { hint });
  }
  const hint =
    exit.code === 0
      ? 'Run the server in the foreground, without "&", so that the command ends with the server.'
      : `Read the last lines that the app printed. To set a missing variable: sluice env set ${spec.key} NAME=value`;
  return failure(worker, 'boot_exited', message, { hint });
}

/** Returns the error for a command of which no Node.js process listens on the app's port in time. */
export async function neverListened(worker: WorkerHandle, spec: GenerationSpec): Promise<AppError> {
  const { bootTimeout, port } = spec;
  const [found] = (await foreignListeners(worker)).filter(({ isNode }) => isNode === false);
  const programs = await programsOf(worker);
  const hasNode = programs.some(({ isNode }) => isNode !== false);
  if (found !== undefined && !hasNode) return foreign(worker, found);
  if (programs.length > 0 && !hasNode) {
    const names = [...new Set(programs.map(({ name }) => name))].join(', ');
    return failure(worker, 'unsupported_start', `the command runs ${names}, and no Node.js program`, {
      hint: onlyNode,
    });
  }
  const other = worker.otherPort;
  const elsewhere = other === undefined ? '' : `; one listens on port ${other}`;
  const message = `no Node.js process of the command listened on port ${port} within ${formatDuration(bootTimeout)}${elsewhere}`;
  const hint =
    other === undefined
      ? 'The app must call listen(process.env.PORT). If the app needs longer, raise "bootTimeout".'
      : `Use process.env.PORT in its listen(), or set "port": ${other} in sluice.json.`;
  return failure(worker, 'boot_timeout', message, { hint });
}

function foreign(worker: WorkerHandle, { name, port, isNode }: Foreign): Promise<AppError> {
  if (isNode === false) {
    const message = `${name} listens on port ${port}, and is not a Node.js program`;
    return failure(worker, 'unsupported_start', message, { hint: onlyNode });
  }
  const message = `a Node.js process listens on port ${port} without Sluice`;
  const hint =
    'Let the main thread listen, in Node.js 18.12 or later. If the command sets NODE_OPTIONS, keep the value that it inherits: NODE_OPTIONS="$NODE_OPTIONS --your-option".';
  return failure(worker, 'unsupported_start', message, { hint });
}

interface Program {
  name: string;
  /** undefined if the file of the program cannot be read, and the name may be one that Node.js was given */
  isNode: boolean | undefined;
}

interface Foreign extends Program {
  port: number;
}

/** Finds the processes of a worker that listen and are not members. */
async function foreignListeners(
  worker: WorkerHandle,
  { port, signal }: { port?: number; signal?: AbortSignal } = {},
): Promise<Foreign[]> {
  const found = (await listListeners(port, treeOf(worker), signal)) ?? [];
  // Members have copies of the runner's socket, which listens if another release is live.
  const members = new Set(worker.members?.pids);
  return Promise.all(
    found.flatMap(({ pids, port: its }: Listener) =>
      pids.filter((pid) => !members.has(pid)).map(async (pid) => ({ ...(await programOf(pid)), port: its })),
    ),
  );
}

/** Returns the programs that a worker runs, without shells. */
async function programsOf(worker: WorkerHandle): Promise<Program[]> {
  const programs = await Promise.all(treeOf(worker).map(programOf));
  return programs.filter(({ name }) => name !== '' && !shells.has(name));
}

function treeOf({ pid }: WorkerHandle): number[] {
  return [pid, ...descendantsOf(pid)];
}

/** Describes a program that runs. A runner without CAP_SYS_PTRACE may not read the file of another user's program. */
async function programOf(pid: number): Promise<Program> {
  const name = processName(pid) ?? '';
  const file = await readlink(`/proc/${pid}/exe`).catch(() => undefined);
  const isNode =
    file === undefined
      ? nodeThread.test(name) || undefined
      : /^node(js)?$/.test(basename(file.replace(/ \(deleted\)$/, '')));
  return { name: isNode ? 'node' : name, isNode };
}
