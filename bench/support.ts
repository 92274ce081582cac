import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** An app that answers, and nothing else. */
export const hello = fileURLToPath(new URL('apps/hello.cjs', import.meta.url));

type Cleanup = () => unknown;

/** Gives `work` what the helpers of the tests want of a test: what is to be cleaned up when it is over. */
export async function inScope(
  work: (t: { after: (cleanup: Cleanup) => void }) => Promise<void>,
): Promise<void> {
  const cleanups: Cleanup[] = [];
  try {
    await work({ after: (cleanup) => void cleanups.push(cleanup) });
  } finally {
    for (const cleanup of cleanups.reverse()) await cleanup();
  }
}

export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/** CPU time that `pids` have used so far, in µs; schedstat has it in ns, where /proc/PID/stat counts ticks of 10 ms. */
export async function cpuTime(pids: number[]): Promise<number> {
  let nanoseconds = 0;
  for (const pid of pids) {
    for (const thread of await readdir(`/proc/${pid}/task`)) {
      nanoseconds += Number((await readFile(`/proc/${pid}/task/${thread}/schedstat`, 'utf8')).split(' ')[0]);
    }
  }
  return nanoseconds / 1000;
}

/** `pid` and all that descends from it. */
export async function processTree(pid: number): Promise<number[]> {
  const parents = new Map<number, number>();
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const stat = await readFile(`/proc/${name}/stat`, 'utf8').catch(() => '');
    parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
  }
  const tree = [pid];
  for (const member of tree) for (const [child, parent] of parents) if (parent === member) tree.push(child);
  return tree;
}

/** Memory of a process, its part of shared pages included, in bytes (proc(5): smaps_rollup). */
export function proportionalSize(pid: number): Promise<number> {
  return rolledUp(pid, 'Pss');
}

/** Memory of a process, all of shared pages included, in bytes. */
export function residentSize(pid: number): Promise<number> {
  return rolledUp(pid, 'Rss');
}

async function rolledUp(pid: number, name: string): Promise<number> {
  const rollup = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8');
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(rollup)?.[1]) * 1024;
}

const request = (connection: string) => `GET / HTTP/1.1\r\nhost: bench\r\nconnection: ${connection}\r\n\r\n`;

/** For a server: what bin/sluice and libexec/unit put into its environment, with a compile cache of its own. */
export async function sluiceEnvironment(t: {
  after: (cleanup: Cleanup) => void;
}): Promise<{ NODE_COMPILE_CACHE: string; MALLOC_ARENA_MAX: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'sluice-bench-'));
  t.after(() => rm(directory, { recursive: true }));
  return { NODE_COMPILE_CACHE: directory, MALLOC_ARENA_MAX: '2' };
}

/** Sends `total` requests over `clients` kept-alive connections. */
export async function keptAlive(port: number, total: number, clients = 32): Promise<void> {
  let left = total;
  const one = () =>
    new Promise<void>((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1', noDelay: true });
      const next = () => {
        left -= 1;
        if (left < 0) {
          socket.destroy();
          resolve();
        } else socket.write(request('keep-alive'));
      };
      socket.on('connect', next).on('data', next).on('error', reject);
    });
  await Promise.all(Array.from({ length: clients }, one));
}

/** Sends `total` requests, each on a connection of its own, `clients` at a time. */
export async function newConnections(port: number, total: number, clients = 32): Promise<void> {
  let left = total;
  const one = async () => {
    while (left > 0) {
      left -= 1;
      await new Promise<void>((resolve, reject) => {
        const socket = connect({ port, host: '127.0.0.1' });
        socket.on('connect', () => socket.write(request('close')));
        socket.on('data', () => undefined);
        socket.on('close', () => resolve()).on('error', reject);
      });
    }
  };
  await Promise.all(Array.from({ length: clients }, one));
}

/** A figure, and what it must be. */
export function row(what: string, figure: string, wanted: string): void {
  console.log(`${what.padEnd(44)} ${figure.padStart(10)}   wanted ${wanted}`);
}

/** From start to listening, as `node server.js` on its own, in ms. */
export async function bootTimes(): Promise<number[]> {
  const directory = await mkdtemp(join(tmpdir(), 'sluice-bench-'));
  const probe = join(directory, 'probe.cjs');
  await writeFile(
    probe,
    `require('node:net').Server.prototype.emit = function (event) { if (event === 'listening') process.exit(); };`,
  );
  const times: number[] = [];
  try {
    for (let run = 0; run < 11; run += 1) {
      const start = performance.now();
      await once(spawn(process.execPath, ['--require', probe, hello], { env: { PORT: '0' } }), 'exit');
      times.push(performance.now() - start);
    }
  } finally {
    await rm(directory, { recursive: true });
  }
  return times;
}
