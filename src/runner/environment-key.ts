import { type EnvironmentId, parseEnvironmentName } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';

/**
 * The target that the server names. What becomes names of files, of users and of cgroups is taken from it alone: a key
 * that is none would lead out of where they belong.
 * @throws AppError `user_refused`
 */
export function checkedEnvironment(key: string): EnvironmentId {
  const target = typeof key === 'string' ? parseEnvironmentName(key) : undefined;
  if (target !== undefined) return target;
  throw new AppError('user_refused', `${JSON.stringify(key)} names no app`);
}
