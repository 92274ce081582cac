import { stat } from 'node:fs/promises';
import { listEnvironments, type Paths } from '../config/paths.ts';
import { ifThere } from '../system/fs/exists.ts';
import { outputOf } from '../system/process/systemd.ts';
import { formatDuration } from '../system/text/format.ts';
import { type Finding, ok, warning } from './check.ts';
import type { Snapshot } from './snapshot.ts';

/** Error of a synchronized clock plus the rounding of file systems, at most, in ms. */
const tolerance = 60_000;

const remedy =
  'As root: timedatectl set-ntp true (Debian: apt-get install systemd-timesyncd, if no other time service is installed)';

/** Checks that the clock is right: certificates, schedules and the times in logs depend on it. */
export async function* checkClock({ paths }: Snapshot): AsyncIterable<Finding> {
  const ahead = (await newestChange(paths)) - Date.now();
  if (ahead > tolerance) {
    return yield warning(
      `the clock is ${formatDuration(ahead)} behind the newest file of Sluice: it was set back, or was wrong before`,
      `Compare it with \`date\`. ${remedy}`,
    );
  }
  const synchronized = await isSynchronized();
  if (synchronized === 'no')
    yield warning('is not synchronized: the clock drifts, and then checks of certificates fail', remedy);
  yield ok(synchronized === 'yes' ? 'is synchronized' : 'was not set back; the time service is unknown');
}

/** Returns when the server or a switch last changed a file; 0 if there is none. */
async function newestChange(paths: Paths): Promise<number> {
  const switches = (await listEnvironments(paths)).map((id) => paths.environment(id).generation);
  const files = [paths.events, paths.tokens, ...switches];
  const times = files.map(async (path) => (await ifThere(stat(path)))?.mtimeMs ?? 0);
  return Math.max(...(await Promise.all(times)));
}

/** Returns `yes`, `no`, or anything else if nothing knows: a container has the clock of its host. */
async function isSynchronized(): Promise<string | undefined> {
  if ((await outputOf('systemd-detect-virt', ['--container'])) !== undefined) return undefined;
  return (await outputOf('timedatectl', ['show', '--property=NTPSynchronized', '--value']))?.trim();
}
