import { stat } from 'node:fs/promises';
import { systemCode } from '../errors/app-error.ts';
import { outputOf } from '../system/process/systemd.ts';
import { formatDuration } from '../system/text/format.ts';
import { type Check, ok, type Patient, warning } from './check.ts';
import { environments } from './environments.ts';

/** What a clock that is kept right may be off, and a file system may round to, in ms. */
const tolerance = 60_000;

/** Whether the clock is right: certificates, schedules, and what the logs say of when, go by it. */
export async function checkClock(patient: Patient): Promise<Check> {
  const ahead = (await newestTrace(patient)) - Date.now();
  if (ahead > tolerance) {
    return warning(
      'clock',
      `it is ${formatDuration(ahead)} behind what was written here: it has been set back, or was wrong then`,
      `\`date\` shows it. ${remedy}`,
    );
  }
  const synchronised = await isSynchronised();
  if (synchronised === undefined)
    return ok('clock', 'it has not been set back; what keeps it right is not known here');
  if (synchronised) return ok('clock', 'it is synchronised');
  return warning(
    'clock',
    'it is not synchronised: sooner or later it is wrong, and then certificates are',
    remedy,
  );
}

const remedy =
  'As root: timedatectl set-ntp true (Debian: apt-get install systemd-timesyncd, where there is no other)';

/** When something was last written by the server or a switch; 0 where nothing was. */
async function newestTrace({ paths }: Patient): Promise<number> {
  const files = [
    paths.events,
    paths.tokens,
    ...(await environments(paths)).map(({ generation }) => generation),
  ];
  return Math.max(0, ...(await Promise.all(files.map(changedAt))));
}

async function changedAt(path: string): Promise<number> {
  try {
    return (await stat(path)).mtimeMs;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return 0;
    throw error;
  }
}

/** Undefined where nobody can say: a container has the clock of its host. */
async function isSynchronised(): Promise<boolean | undefined> {
  const container = await outputOf('systemd-detect-virt', ['--container']);
  if (container !== undefined) return undefined;
  const output = await outputOf('timedatectl', ['show', '--property=NTPSynchronized', '--value']);
  const value = output?.trim();
  return value === 'yes' ? true : value === 'no' ? false : undefined;
}
