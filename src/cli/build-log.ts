import type { EnvironmentId } from '../config/paths.ts';
import { printableLine } from '../system/text/printable.ts';
import { connect } from './command.ts';
import { lines } from './lines.ts';
import { hasColours, put } from './output.ts';
import { appPath } from './target.ts';

/** Prints what the build of a release has printed. @throws AppError `release_not_found` */
export async function printBuildLog(target: EnvironmentId, release: number): Promise<void> {
  const query = { environment: target.environment };
  const log = await (await connect()).open('GET', appPath(target, `/releases/${release}/log`), { query });
  for await (const line of lines(log)) await put(printableLine(line, hasColours()));
}
