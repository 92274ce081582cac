import { readdir, readFile } from 'node:fs/promises';

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
