import { isName, type Paths, type TargetPaths } from '../../config/paths.ts';
import { listDirectory } from '../../system/files.ts';

/** Where each environment of each app lies, as far as the disk says; whether it can be read is not asked. */
export async function environments(paths: Paths): Promise<TargetPaths[]> {
  const found: TargetPaths[] = [];
  for (const app of (await listDirectory(paths.apps)).filter(isName).sort()) {
    for (const environment of (await listDirectory(paths.app(app))).filter(isName).sort()) {
      found.push(paths.target({ app, environment }));
    }
  }
  return found;
}
