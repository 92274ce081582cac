import { randomUUID } from 'node:crypto';
import type { GenerationSpec, SupervisionSpec } from '../protocol/runner.ts';

/**
 * Returns the variables of a worker that differ between the workers. Their `pm_id` counts the workers that the release asks for, then
 * the background processes, then the workers that a scale adds: so no number changes at a scale.
 */
export function workerVariables(spec: GenerationSpec, instance: number): Record<string, string> {
  const { pmId, background, env } = spec;
  const [first] = background;
  const isAdded = typeof first?.pmId === 'number' && instance >= first.pmId;
  const others = isAdded ? background.reduce((sum, { count }) => sum + count, 0) : 0;
  return instanceVariables({ ...spec, pmId: pmId === null ? null : pmId + others }, instance, env);
}

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
