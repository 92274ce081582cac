import { existsSync, realpathSync, statSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { AppError, systemCode } from '../errors/app-error.ts';
import { listPids, titleOf, variableOf } from '../system/process/processes.ts';
import { asOther, ProgramFailed, run, usualPath } from '../system/process/run.ts';
import { findUser, type PasswdEntry } from '../system/process/user.ts';
import { maxListBytes } from './pm2-list.ts';

/** PM2 of one user. */
export interface Pm2 {
  user: PasswdEntry;
  /** its directory, usually ~/.pm2 */
  home: string;
  /** pid of the daemon; undefined if it does not run */
  daemon: number | undefined;
  /** directories of `pm2` and its Node.js */
  path: string;
}

/** Limit of the time for a command of PM2, in ms. `pm2 stop` waits for `kill_timeout` of each app. */
const commandTimeout = 120_000;

/**
 * Finds the PM2 of a user: that of its daemon, or else in ~/.pm2.
 * @param userName undefined for the user of the only daemon, or for the user who ran sudo
 * @throws AppError `pm2_not_found`
 */
export async function findPm2(userName?: string): Promise<Pm2> {
  const daemons = await findDaemons();
  const name = userName ?? process.env['SUDO_USER'];
  const named = findUser((entry) =>
    name === undefined ? entry.uid === process.getuid?.() : entry.name === name,
  );
  if (userName !== undefined && named === undefined)
    throw notFound(`there is no user ${userName}`, 'Name the user who runs PM2: --user NAME.');
  const own = daemons.filter(({ user }) => user.uid === named?.uid);
  const candidates = userName === undefined && own.length === 0 ? daemons : own;
  const wantedHome = process.env['PM2_HOME'];
  const [found, ...others] =
    wantedHome === undefined ? candidates : candidates.filter(({ home }) => home === wantedHome);
  if (found !== undefined && others.length === 0) return found;
  if (found !== undefined)
    throw notFound(
      `PM2 runs more than once: ${candidates.map(({ user, home }) => `${home} (${user.name})`).join(', ')}`,
      'Name the user: --user NAME, or the directory of PM2 in the variable PM2_HOME.',
    );
  throw notFound(
    named === undefined ? 'PM2 does not run' : `PM2 of ${named.name} does not run`,
    'Start PM2 (`pm2 resurrect`), name its user (--user NAME), or name its saved list: --dump ~/.pm2/dump.pm2.',
  );
}

/** Finds the daemons of PM2 by their titles. A user may give any process such a title, but only that user's `pm2` is called then. */
async function findDaemons(): Promise<Pm2[]> {
  const found: Pm2[] = [];
  for (const pid of await listPids()) {
    const home = /^PM2 v[\d.]+\S*: God Daemon \((\/[^\0)]*)\)/.exec(titleOf(pid) ?? '')?.[1];
    if (home === undefined) continue;
    const uid = ownerOf(pid);
    const user = findUser((entry) => entry.uid === uid);
    if (user !== undefined) found.push({ user, home, daemon: pid, path: pathOf(pid, user) });
  }
  return found;
}

function ownerOf(pid: number): number | undefined {
  try {
    return statSync(`/proc/${pid}`).uid;
  } catch {
    // The process has ended.
    return undefined;
  }
}

/** Returns the directories of the programs of a daemon: its own PATH, which nvm may have changed, and its Node.js. */
function pathOf(pid: number, { home }: PasswdEntry): string {
  let node: string[] = [];
  try {
    node = [dirname(realpathSync(`/proc/${pid}/exe`))];
  } catch {
    // Without the right to see the program, PATH must have it.
  }
  return [...node, variableOf(pid, 'PATH'), `${home}/.local/bin`, process.env['PATH'], usualPath]
    .filter(Boolean)
    .join(delimiter);
}

/** Returns the output of `pm2 jlist`. @throws AppError `pm2_failed` */
export function listProcesses(pm2: Pm2): Promise<string> {
  return runPm2(pm2, ['jlist']);
}

/** Stops or starts processes, or deletes them from PM2's list. @throws AppError `pm2_failed` */
export async function changeProcesses(
  pm2: Pm2,
  change: 'stop' | 'start' | 'delete',
  ids: readonly number[],
): Promise<void> {
  if (ids.length > 0) await runPm2(pm2, [change, ...ids.map(String)]);
}

/** Runs a command of PM2 as its user. @throws AppError `pm2_failed`, `pm2_not_found` */
async function runPm2({ user, home, path }: Pm2, args: string[]): Promise<string> {
  const program = path
    .split(delimiter)
    .map((each) => join(each, 'pm2'))
    .find((each) => existsSync(each));
  if (program === undefined)
    throw notFound(
      `the program pm2 of ${user.name} is not in ${path}`,
      'Run this command with the PATH of that program: sudo env PATH="$PATH" sluice import pm2.',
    );
  const env = {
    PATH: path,
    HOME: user.home,
    USER: user.name,
    PM2_HOME: home,
    LC_ALL: 'C',
    PM2_DISCRETE_MODE: 'true',
  };
  try {
    const options = {
      ...asOther(user),
      env,
      timeout: commandTimeout,
      killSignal: 'SIGKILL',
      maxOutput: maxListBytes,
    } as const;
    return (await run(program, args, options)).stdout;
  } catch (error) {
    if (!(error instanceof ProgramFailed) && systemCode(error) === undefined) throw error;
    const { message } = error as Error;
    throw new AppError('pm2_failed', `pm2 ${args.join(' ')} failed: ${message.slice(0, 500)}`, {
      hint: `Run it as ${user.name}, and correct the cause: pm2 ${args.join(' ')}`,
      cause: error,
    });
  }
}

function notFound(message: string, hint: string): AppError {
  return new AppError('pm2_not_found', message, { hint });
}
