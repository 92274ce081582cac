import { open } from 'node:fs/promises';
import { Readable } from 'node:stream';
import type { Environment } from '../apps/environment.ts';
import { releaseNotFound } from '../apps/release-view.ts';
import { ifThere } from '../system/fs/exists.ts';

/**
 * What the log of a build holds at this moment, to be read to its end or destroyed; empty where nothing has been written
 * yet.
 * @throws AppError `release_not_found`
 */
export async function readBuildLog(environment: Environment, number: number): Promise<Readable> {
  for (let before: string | undefined; ; ) {
    const place = await environment.store.locate(number);
    if (place === undefined) throw releaseNotFound(environment, number);
    const file = await ifThere(open(place.buildLog));
    if (file !== undefined) return file.createReadStream();
    // It may have moved since, with its release.
    if (place.buildLog === before) return Readable.from([]);
    before = place.buildLog;
  }
}
