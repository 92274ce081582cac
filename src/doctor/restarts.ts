import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { ownLog, ownUnits } from '../config/installed.ts';
import type { Paths } from '../config/paths.ts';
import { exists } from '../system/fs/exists.ts';
import { outputOf } from '../system/process/systemd.ts';
import { asItsUser, type Finding, ok, warning } from './check.ts';
import { type Death, deathsInJournal, deathsInLog, journalMessages, lastError } from './deaths.ts';
import type { Snapshot } from './snapshot.ts';

/** Age of the oldest death that is reported. */
const recentDays = 7;

/**
 * Reports unexpected ends of the server and of the runner. Both start again by themselves, so nobody might notice.
 * Restarts, reloads and upgrades do not count.
 */
export async function* checkRestarts({ paths, systemWide }: Snapshot): AsyncIterable<Finding> {
  const deaths = systemWide ? await fromJournal() : await fromLog(paths);
  if (deaths === undefined) return;
  if (deaths === 'closed') {
    const why = 'this user has no permission to read the journal, which has the deaths of server and runner';
    return yield warning(why, asItsUser);
  }
  const hints = new Set(deaths.map((death) => hintFor(death, systemWide)));
  for (const program of ['server', 'runner'] as const) {
    const own = deaths.filter((death) => death.program === program);
    if (own.length > 0) yield warning(describe(own), [...hints].join('\n'));
  }
  yield ok(`server and runner have not died in the last ${recentDays} days`);
}

/** @param deaths of one program, the newest last; at least one */
function describe(deaths: Death[]): string {
  const { program, at, how, error, lacksMemory } = deaths.at(-1) as Death;
  const times = deaths.length === 1 ? 'died' : `died ${deaths.length} times`;
  const last = deaths.length === 1 ? 'on' : 'the last time on';
  const date = at.toISOString().slice(0, 16).replace('T', ' ');
  const causes = [how, lacksMemory ? 'memory ran out' : '', error].filter((cause) => cause !== '');
  const why = causes.length === 0 ? '' : `: ${causes.join(', ')}`;
  return `the ${program} ${times} in the last ${recentDays} days, ${last} ${date} UTC, and was started again${why}`;
}

function hintFor({ how, error, lacksMemory }: Death, systemWide: boolean): string {
  if (lacksMemory)
    return 'Memory ran out: limit apps with "maxMemory" or "memoryLimit", run fewer workers, or give the machine more memory.';
  if (/EMFILE|ENFILE/.test(error))
    return 'File descriptors ran out: raise LimitNOFILE of the unit, or run `ulimit -n` before `sluice up`.';
  if (error === '' && /SIG(?:KILL|TERM|INT|HUP)$/.test(how))
    return 'A user or the kernel killed it. Find out which: `journalctl --dmesg`, and the history of the shells.';
  return `Apps kept running. If this happens again, report it with the lines of the log around that time: ${ownLog(systemWide)}.`;
}

/** @returns undefined if there is no log yet */
async function fromLog({ log }: Paths): Promise<Death[] | undefined> {
  const since = new Date(Date.now() - recentDays * 24 * 60 * 60_000);
  const lines: string[] = [];
  let isThere = false;
  for (const path of [`${log}.1`, log]) {
    if (!(await exists(path))) continue;
    isThere = true;
    // Leaves out requests and deploys.
    for await (const line of createInterface({ input: createReadStream(path) }))
      if (!/^\{"level":"(?:info|debug)"/.test(line) || line.includes('"msg":"ready"')) lines.push(line);
  }
  return isThere ? deathsInLog(lines, since) : undefined;
}

/** @returns `closed` if this user may not read the journal */
async function fromJournal(): Promise<Death[] | 'closed'> {
  const read = (...args: string[]) => outputOf('journalctl', ['--quiet', '--no-pager', ...args]);
  const ids = Object.values(journalMessages).map((id) => `MESSAGE_ID=${id}`);
  const units = ownUnits.map((name) => `UNIT=${name}`);
  const text = await read('--output=json', `--since=-${recentDays}days`, ...ids, ...units);
  if (!text) return (await read('--lines=1', '_PID=1')) ? [] : 'closed';
  const deaths = deathsInJournal(text);
  for (const program of ['server', 'runner'] as const) {
    const last = deaths.findLast((death) => death.program === program);
    if (last === undefined) continue;
    const seconds = last.at.getTime() / 1000;
    const unit = program === 'runner' ? 'sluice-runner.service' : 'sluice.service';
    // To the millisecond, because the next process soon logs that it is ready.
    const until = `--until=@${(seconds + 0.001).toFixed(3)}`;
    const output = (await read('--output=cat', `--unit=${unit}`, '--lines=80', until)) ?? '';
    // systemd itself also logs messages about the end.
    last.error = lastError(output.split('\n').filter((line) => !line.startsWith(`${unit}:`)));
    last.lacksMemory ||= /out of memory/i.test(last.error);
    if (!last.how.endsWith('SIGKILL')) continue;
    const kernel = await read('--dmesg', '--output=cat', `--since=@${Math.floor(seconds) - 10}`, until);
    last.lacksMemory ||= /^.*Killed process \d+ \((?:node|MainThread|sluice)/m.test(kernel ?? '');
  }
  return deaths;
}
