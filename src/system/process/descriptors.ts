import { readdirSync, readFileSync, statSync } from 'node:fs';

/** Number of descriptors kept free: more than any single start of a process takes for a moment. */
const reserve = 32;

interface DescriptorUsage {
  descriptors: number | null;
  maxDescriptors: number | null;
}

/** Counts the file descriptors of this process, and reads their limit; both are null on systems without /proc. */
export function descriptorUsage(): DescriptorUsage {
  if (process.platform !== 'linux') return { descriptors: null, maxDescriptors: null };
  const soft = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
  const directory = '/proc/self/fd';
  // From Linux 6.2 on, the size of this directory is the number of open descriptors; before, it is 0 (source: fs/proc/fd.c of the
  // kernel). A list has one more: the descriptor that reads the directory.
  const descriptors = statSync(directory).size || readdirSync(directory).length - 1;
  return { descriptors, maxDescriptors: soft === undefined ? null : Number(soft) };
}

/**
 * Checks that enough descriptors are left to start a process. If `spawn` runs out of descriptors, it never closes those that
 * it has opened (Node.js 26): a short shortage would last for ever.
 * @throws an error with the code EMFILE
 */
export function needDescriptors(): void {
  const { descriptors, maxDescriptors } = descriptorUsage();
  if (descriptors === null || maxDescriptors === null || descriptors + reserve <= maxDescriptors) return;
  const message = `${descriptors} of ${maxDescriptors} file descriptors are open`;
  throw Object.assign(new Error(message), { code: 'EMFILE' });
}
