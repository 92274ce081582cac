import { targetOf } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';
import type { GenerationLimits, JobLimits } from '../protocol/limits.ts';

/**
 * What the server asks for becomes names and contents of files that root writes: a key that is none would lead out of the
 * hierarchy of cgroups, and a text that is no number would be what is written there.
 * @throws AppError `user_refused`
 */
export function checkLimits<Limits extends GenerationLimits | JobLimits>(
  key: string,
  limits: Limits,
): Limits {
  assertKey(key);
  const { memory, processes, cpuWeight } = limits;
  const isFine = isAmount(memory) && isAmount(processes) && Number.isFinite(cpuWeight) && cpuWeight > 0;
  if (!isFine) throw new AppError('user_refused', `the limits of ${key} are no numbers`);
  return limits;
}

/** @throws AppError `user_refused` where it names no app in one of its environments */
export function assertKey(key: string): void {
  if (typeof key !== 'string' || targetOf(key) === undefined)
    throw new AppError('user_refused', `${JSON.stringify(key)} names no app`);
}

function isAmount(value: unknown): boolean {
  return value === null || (typeof value === 'number' && Number.isFinite(value) && value > 0);
}
