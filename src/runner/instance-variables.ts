import { randomUUID } from 'node:crypto';
import type { SupervisionSpec } from '../protocol/runner.ts';

/**
 * Returns the variables that differ between the instances of a process. An instance keeps them when it is restarted or replaced.
 * @param env variables of the process
 */
export function instanceVariables(
  { instanceVar, incrementVar, pmId }: Pick<SupervisionSpec, 'instanceVar' | 'incrementVar' | 'pmId'>,
  instance: number,
  env: Record<string, string | undefined>,
): Record<string, string> {
  return {
    ...(pmId !== null && { pm_id: String(pmId + instance), unique_id: randomUUID() }),
    // Like PM2, counts from 0 if the value is missing or no number.
    ...(incrementVar !== null && { [incrementVar]: String((Number(env[incrementVar]) || 0) + instance) }),
    [instanceVar]: String(instance),
  };
}
