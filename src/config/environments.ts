import { listDirectory } from '../system/fs/files.ts';
import { type EnvironmentId, isName, type Paths } from './paths.ts';

/** All environments of all apps that have a directory, by name, whatever is in it. */
export async function listEnvironments(paths: Paths): Promise<EnvironmentId[]> {
  const found: EnvironmentId[] = [];
  // Anything else there, such as an app's repository, has a name that no app or environment can have.
  for (const app of (await listDirectory(paths.apps)).filter(isName).sort()) {
    for (const environment of (await listDirectory(paths.app(app))).filter(isName).sort()) {
      found.push({ app, environment });
    }
  }
  return found;
}
