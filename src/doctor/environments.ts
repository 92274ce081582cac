import { type EnvironmentPaths, listEnvironments, type Paths } from '../config/paths.ts';

/** Where each environment of each app lies, as far as the disk says; whether it can be read is not asked. */
export async function environments(paths: Paths): Promise<EnvironmentPaths[]> {
  return (await listEnvironments(paths)).map((target) => paths.environment(target));
}
