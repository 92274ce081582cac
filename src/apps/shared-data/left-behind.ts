import { join } from 'node:path';
import type { Deployment } from '../../deploy/deployment.ts';
import { exists } from '../../system/fs/exists.ts';
import { listSome } from '../../system/text/listing.ts';
import { writtenSince } from './written-since.ts';

/** What is no data, logs for example, may be many files. */
const named = 5;

/**
 * Tells what the live release has written into its own tree: the release that is coming will not see it. Early, so
 * that there is time to cancel. Nothing that goes wrong here fails the deploy.
 * @param shared paths that will be shared: those that are so for the first time are taken along
 */
export async function tellWhatStaysBehind(deployment: Deployment, shared: string[]): Promise<void> {
  const { environment } = deployment;
  try {
    const active = await environment.store.active();
    const record = active === null ? undefined : await environment.store.get(active.release);
    if (record === undefined || record.liveAt === null) return;
    const { number } = record;
    const tree = environment.paths.release(number).directory;
    const adopted = await notYetThere(environment.paths.shared, shared);
    const written = (await writtenSince(tree, new Date(record.liveAt), adopted)).sort();
    if (written.length === 0) return;
    deployment.notice({
      code: 'data_left_behind',
      message: `release ${number} wrote ${listSome(written, named)} since it went live, which stays behind in release ${number}`,
      hint: `Name what must survive under "shared" in sluice.json: the next deploy takes over from the live release what the shared directory does not have yet. Once this deploy is live, that takes a \`sluice rollback ${environment.name} ${number}\` first. See "Data that must survive a deploy" in the README.`,
    });
  } catch (error) {
    environment.appliance.log.warn('written data not looked for', { app: environment.name, error });
  }
}

async function notYetThere(directory: string, paths: string[]): Promise<string[]> {
  const there = await Promise.all(paths.map((path) => exists(join(directory, path))));
  return paths.filter((_, index) => !there[index]);
}
