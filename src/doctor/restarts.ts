import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { ownLog, ownUnits } from '../config/installed.ts';
import type { Paths } from '../config/paths.ts';
import { exists } from '../system/fs/exists.ts';
import { outputOf } from '../system/process/systemd.ts';
import { asItsUser, type Check, ok, type Patient, warning } from './check.ts';
import { type Death, deathsInJournal, deathsInLog, journalMessages, lastWords } from './deaths.ts';

/** Age of the oldest death that is reported, in ms. */
const recent = 7 * 24 * 60 * 60_000;
const recentDays = recent / (24 * 60 * 60_000);

/**
 * Reports unexpected ends of the server and of the runner. Both start again by themselves, so nobody might notice.
 * Restarts, reloads and upgrades do not count.
 */
export async function checkRestarts({ paths, systemWide }: Patient): Promise<Check | undefined> {
  const deaths = systemWide ? await fromJournal() : await fromLog(paths);
  if (deaths === undefined) return undefined;
  if (deaths === 'closed')
    return warning(
      'restarts',
      'this user may not read the journal, which has the deaths of server and runner',
      asItsUser,
    );
  if (deaths.length === 0)
    return ok('restarts', `server and runner have not died in the last ${recentDays} days`);
  const told = (['server', 'runner'] as const).flatMap((who) => {
    const theirs = deaths.filter((death) => death.who === who);
    return theirs.length === 0 ? [] : [describe(who, theirs)];
  });
  const causes = [...new Set(deaths.map((death) => adviceFor(death, systemWide)))];
  return warning('restarts', told.join('\n'), causes.join('\n'));
}

function describe(who: Death['who'], deaths: Death[]): string {
  const { at, how, words, lacksMemory } = deaths.at(-1) as Death;
  const times = deaths.length === 1 ? 'died' : `died ${deaths.length} times`;
  const causes = [how, lacksMemory ? 'memory ran out' : '', words].filter((cause) => cause !== '');
  const last = `${deaths.length === 1 ? '' : 'the last time '}on ${at.toISOString().slice(0, 16).replace('T', ' ')} UTC`;
  const why = causes.length === 0 ? '' : `: ${causes.join(', ')}`;
  return `the ${who} ${times} in the last ${recentDays} days, ${last}, and was started again${why}`;
}

function adviceFor({ how, words, lacksMemory }: Death, systemWide: boolean): string {
  if (lacksMemory)
    return 'Memory ran out: limit apps with "maxMemory" or "limits", run fewer workers, or give the machine more memory.';
  if (/EMFILE|ENFILE/.test(words))
    return 'File descriptors ran out: raise LimitNOFILE of the unit, or run `ulimit -n` before `sluice up`.';
  if (words === '' && /SIG(?:KILL|TERM|INT|HUP)$/.test(how))
    return 'Somebody has killed it, or the kernel has: `journalctl --dmesg` and the history of the shells may tell who.';
  return `Apps went on. If this happens again, report it with the lines of the log around that time: ${ownLog(systemWide)}.`;
}

/** @returns undefined if there is no log yet */
async function fromLog({ log }: Paths): Promise<Death[] | undefined> {
  const since = new Date(Date.now() - recent);
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

/** @returns `closed` if this user may not read what systemd has written */
async function fromJournal(): Promise<Death[] | 'closed'> {
  const of = (...args: string[]) => outputOf('journalctl', ['--quiet', '--no-pager', ...args]);
  const ids = Object.values(journalMessages).map((id) => `MESSAGE_ID=${id}`);
  const units = ownUnits.map((name) => `UNIT=${name}`);
  const text = await of('--output=json', `--since=-${recentDays}days`, ...ids, ...units);
  if (!text) return (await of('--lines=1', '_PID=1')) ? [] : 'closed';
  const deaths = deathsInJournal(text);
  for (const who of ['server', 'runner'] as const) {
    const last = deaths.findLast((death) => death.who === who);
    if (last === undefined) continue;
    const seconds = last.at.getTime() / 1000;
    const unit = who === 'runner' ? 'sluice-runner.service' : 'sluice.service';
    // To the millisecond, because the next process soon logs that it is ready.
    const until = `--until=@${(seconds + 0.001).toFixed(3)}`;
    const said = await of('--output=cat', `--unit=${unit}`, '--lines=80', until);
    // systemd itself also logs messages about the end.
    last.words = lastWords((said ?? '').split('\n').filter((line) => !line.startsWith(`${unit}:`)));
    last.lacksMemory ||= /out of memory/i.test(last.words);
    if (!last.how.endsWith('SIGKILL')) continue;
    const kernel = await of('--dmesg', '--output=cat', `--since=@${Math.floor(seconds) - 10}`, until);
    last.lacksMemory ||= /^.*Killed process \d+ \((?:node|MainThread|sluice)/m.test(kernel ?? '');
  }
  return deaths;
}
