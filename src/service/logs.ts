import { open } from 'node:fs/promises';
import { Readable } from 'node:stream';
import type { Environment } from '../apps/environment.ts';
import { releaseNotFound } from '../apps/release-view.ts';
import { secretValues } from '../apps/variable-set.ts';
import type { LogLine } from '../logs/line.ts';
import { type LogQuery, readLog } from '../logs/read.ts';
import { ifThere } from '../system/fs/exists.ts';
import { Masker } from '../system/text/mask/masker.ts';

/** Shortest time between two checks for new values of variables while a log is followed, in ms. */
const checkInterval = 1000;

/** Reads lines of an app's log. Masks values of variables, including values that changed while the log is followed. */
export async function* readAppLog(environment: Environment, query: LogQuery): AsyncGenerator<LogLine> {
  const secrets = new Set<string>();
  let masker = new Masker(secrets);
  let checkedAt = Number.NEGATIVE_INFINITY;
  for await (const line of readLog(environment.paths.logs, query)) {
    if (performance.now() - checkedAt > checkInterval) {
      const known = secrets.size;
      for (const value of secretValues(await environment.variableSet())) secrets.add(value);
      if (secrets.size > known) masker = new Masker(secrets);
      checkedAt = performance.now();
    }
    yield { ...line, text: masker.maskText(line.text) };
  }
}

/**
 * Opens the build log of a release, with the lines that it has now; empty if nothing has been written yet. The caller
 * reads the stream to its end or destroys it.
 * @throws AppError `release_not_found`
 */
export async function readBuildLog(environment: Environment, number: number): Promise<Readable> {
  for (let before: string | undefined; ; ) {
    const location = await environment.store.locate(number);
    if (location === undefined) throw releaseNotFound(environment.name, number);
    const file = await ifThere(open(location.buildLog));
    if (file !== undefined) return file.createReadStream();
    // The release may have moved since, with its log.
    if (location.buildLog === before) return Readable.from([]);
    before = location.buildLog;
  }
}
