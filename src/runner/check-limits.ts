import { AppError } from '../errors/app-error.ts';
import type { GenerationLimits, JobLimits } from '../protocol/limits.ts';
import { checkedEnvironment } from './environment-key.ts';

/**
 * What the server asks for becomes names and contents of files that root writes: a text that is no number would be what
 * is written there.
 * @throws AppError `user_refused`
 */
export function checkLimits<Limits extends GenerationLimits | JobLimits>(
  key: string,
  limits: Limits,
): Limits {
  checkedEnvironment(key);
  const { memory, processes, cpuWeight } = limits;
  const isFine = isAmount(memory) && isAmount(processes) && Number.isFinite(cpuWeight) && cpuWeight > 0;
  if (!isFine) throw new AppError('user_refused', `the limits of ${key} are no numbers`);
  return limits;
}

function isAmount(value: unknown): boolean {
  return value === null || (typeof value === 'number' && Number.isFinite(value) && value > 0);
}
