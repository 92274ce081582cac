import { readdirSync, readFileSync } from 'node:fs';

/** More than any single thing that a process of ours starts takes for a moment. */
const reserve = 32;

interface DescriptorUsage {
  descriptors: number | null;
  maxDescriptors: number | null;
}

/** Counts the file descriptors of this process, and reads their limit; null where there is no /proc. */
export function descriptorUsage(): DescriptorUsage {
  if (process.platform !== 'linux') return { descriptors: null, maxDescriptors: null };
  const soft = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
  // The directory itself is open while it is read.
  const descriptors = readdirSync('/proc/self/fd').length - 1;
  return { descriptors, maxDescriptors: soft === undefined ? null : Number(soft) };
}

/**
 * To be called before a process is started. A `spawn` that finds no descriptor left keeps those that it has opened by
 * then for good (Node.js 26): what fails for a moment would fail for ever.
 * @throws an error with the code EMFILE
 */
export function needDescriptors(): void {
  const { descriptors, maxDescriptors } = descriptorUsage();
  if (descriptors === null || maxDescriptors === null || descriptors + reserve <= maxDescriptors) return;
  const message = `${descriptors} of ${maxDescriptors} file descriptors are open`;
  throw Object.assign(new Error(message), { code: 'EMFILE' });
}
