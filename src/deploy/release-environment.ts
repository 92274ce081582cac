import { delimiter, dirname, join } from 'node:path';
import { programDirectories } from '../config/app-directory.ts';
import type { EnvironmentId } from '../config/paths.ts';
import type { ReleaseRecord, RunPlan } from '../releases/release.ts';
import { usualPath } from '../system/process/run.ts';

/** Returns the variables by which the programs of an app know their release, at its build and later. */
export function aboutRelease(
  { app, environment }: EnvironmentId,
  { number, source }: Pick<ReleaseRecord, 'number' | 'source'>,
): Record<string, string> {
  const { commit, branch } = source;
  return {
    SLUICE_APP: app,
    SLUICE_ENVIRONMENT: environment,
    SLUICE_RELEASE: String(number),
    ...(commit && { SLUICE_COMMIT: commit }),
    ...(branch && { SLUICE_BRANCH: branch }),
  };
}

/**
 * Returns PATH for the processes of a release. Before the PATH of the app or of the server are the programs of the app's packages,
 * of its package manager and of its Node.js. A directory may be missing: programs are then found in the next ones.
 */
export function programPath({
  release,
  run,
  tools,
  node,
  rest = process.env['PATH'] ?? usualPath,
}: {
  /** directory of the release */
  release: string;
  run: Pick<RunPlan, 'path' | 'settings' | 'directory'>;
  /** directory of all package managers */
  tools: string;
  node: string;
  rest: string | undefined;
}): string {
  const { path = [], settings, directory = settings.directory } = run;
  return [
    ...programDirectories(release, directory),
    ...path.map((each) => join(tools, each)),
    dirname(node),
    rest,
  ].join(delimiter);
}
