import type { AppSettings } from '../config/app-settings.ts';
import type { GenerationLimits } from '../protocol/runner.ts';

/** Default limit of processes and threads. A worker has about a dozen threads; image libraries and compilers have more. */
const maxProcessesOf = { release: 512, each: 64 };

/** Default limit of a release's memory, as a multiple of `maxMemory`, which replaces single workers before that. */
const timesMaxMemory = 2;

/** Returns the limits of a release with that many workers and background processes. */
export function generationLimits(
  settings: Pick<AppSettings, 'memoryLimit' | 'maxMemory' | 'maxProcesses' | 'cpuWeight'>,
  processes: number,
): GenerationLimits {
  const { memoryLimit, maxMemory, maxProcesses, cpuWeight } = settings;
  // One process more than the release has: a new worker boots beside the one that it replaces.
  const derived = maxMemory === undefined ? null : maxMemory * timesMaxMemory * (processes + 1);
  return {
    memory: memoryLimit ?? derived,
    processes: maxProcesses ?? maxProcessesOf.release + maxProcessesOf.each * processes,
    cpuWeight,
  };
}
