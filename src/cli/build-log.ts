import type { Target } from '../config/paths.ts';
import { connect } from './command.ts';
import { put } from './output.ts';
import { appPath } from './target.ts';

/** Prints what the build of a release has printed. @throws AppError `release_not_found` */
export async function printBuildLog(target: Target, release: number): Promise<void> {
  const query = { environment: target.environment };
  const log = await (await connect()).open('GET', appPath(target, `/releases/${release}/log`), { query });
  for await (const chunk of log) await put(chunk);
}
