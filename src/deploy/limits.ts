import type { Environment } from '../apps/environment.ts';
import type { AppSettings } from '../config/app-settings.ts';
import type { GenerationLimits, JobLimits } from '../protocol/runner.ts';

/** A worker has about a dozen threads, and what draws pictures or compiles has more. */
const processesFor = { release: 512, each: 64 };

/** Within this `maxMemory`, which acts on one process and without a loss, has been long since at work. */
const timesMaxMemory = 2;

/**
 * @param settings of the release
 * @param processes how many workers and background processes it has
 */
export function generationLimits(
  settings: Pick<AppSettings, 'memoryLimit' | 'maxMemory' | 'maxProcesses' | 'cpuWeight'>,
  processes: number,
): GenerationLimits {
  const { memoryLimit, maxMemory, maxProcesses, cpuWeight } = settings;
  // One more than there are: a fresh worker boots beside the one that it replaces; commands at set times have none.
  const derived = maxMemory === undefined ? null : maxMemory * timesMaxMemory * (processes + 1);
  return {
    memory: memoryLimit ?? derived,
    processes: maxProcesses ?? processesFor.release + processesFor.each * processes,
    cpuWeight,
  };
}

/** For the commands of its builds, and its hooks. */
export function jobLimits({ name, appliance }: Environment): JobLimits {
  const { buildMemory, buildProcesses } = appliance.settings;
  return { key: name, memory: buildMemory ?? null, processes: buildProcesses, cpuWeight: 100 };
}
