import { constants } from 'node:os';

/** Unexpected end of the server or of the runner. */
export interface Death {
  who: 'server' | 'runner';
  at: Date;
  /** such as `exit status 1` or `killed by SIGKILL`; empty if it is not known */
  how: string;
  /** message of the error that ended it; empty if there is none */
  words: string;
  /** true if the system ended it, or it ended itself, because memory ran out */
  lacksMemory: boolean;
}

/** Number of lines before a death that may tell its cause. */
const linesBefore = 80;
/** Longest message of an error that is shown, in characters. */
const longestWords = 300;

/** Line of Sluice's own log. */
interface Line {
  time?: string;
  msg?: string;
  source?: string;
  status?: number;
  pid?: number;
  code?: number | null;
  signal?: string | null;
  error?: string;
}

/**
 * Finds the deaths in Sluice's own log, for a Sluice that systemd does not run. libexec/supervise.sh logs the ends of servers,
 * and the server logs those of runners.
 * @param lines of the log, the oldest first
 */
export function deathsInLog(lines: string[], since: Date): Death[] {
  const deaths: Death[] = [];
  const runners = new Map<number, Death>();
  for (const [index, text] of lines.entries()) {
    const line = parsed(text);
    const at = new Date(line?.time ?? Number.NaN);
    if (line === undefined || !(at >= since)) continue;
    const words = () => lastWords(lines.slice(Math.max(0, index - linesBefore), index));
    const { pid = 0, status = 0 } = line;
    if (line.source === 'supervisor' && line.msg === 'server ended') {
      // A shell adds 128 to the number of a signal.
      const how = status > 128 ? killed(status - 128) : `exit status ${status}`;
      deaths.push(death('server', at, how, words()));
    } else if (isEndOfRunner(line)) {
      const how = line.signal
        ? `killed by ${line.signal}`
        : line.code == null
          ? ''
          : `exit status ${line.code}`;
      const known = runners.get(pid);
      // The server may log the lost connection before the exit: both are one death.
      if (known !== undefined) known.how ||= how;
      else {
        const found = death('runner', at, how, words());
        runners.set(pid, found);
        deaths.push(found);
      }
    }
  }
  return deaths;
}

function isEndOfRunner(line: Line & { level?: string }): boolean {
  return (
    (line.msg === 'runner lost' && line.level === 'warn') ||
    (line.msg === 'runner ended' && line.level === 'error')
  );
}

/** Ids of systemd's messages: see sd-messages.h of systemd. */
export const journalMessages = {
  processExit: '98e322203f7a4ed290d09fe03c09fe15',
  failed: 'd9b373ed55a64feb8242e02dbe79a49c',
};

/** Entry of the journal, as `journalctl --output=json` prints it. */
interface Entry {
  MESSAGE_ID?: string;
  UNIT?: string;
  COMMAND?: string;
  EXIT_CODE?: string;
  EXIT_STATUS?: string;
  UNIT_RESULT?: string;
  __REALTIME_TIMESTAMP?: string;
}

/**
 * Finds the deaths of the units in the journal. systemd logs nothing about an exit with status 0.
 * @param text what `journalctl --output=json` prints
 */
export function deathsInJournal(text: string): Death[] {
  const deaths: Death[] = [];
  for (const line of text.split('\n')) {
    const entry = parsed(line) as Entry | undefined;
    if (entry === undefined) continue;
    const who = entry.UNIT === 'sluice-runner.service' ? 'runner' : 'server';
    if (entry.MESSAGE_ID === journalMessages.failed) {
      const last = deaths.findLast((each) => each.who === who);
      if (last !== undefined && entry.UNIT_RESULT === 'oom-kill') last.lacksMemory = true;
    } else if ((entry.COMMAND ?? 'ExecStart') === 'ExecStart') {
      const status = Number(entry.EXIT_STATUS);
      const how = entry.EXIT_CODE === 'exited' ? `exit status ${status}` : killed(status);
      deaths.push(death(who, new Date(Number(entry.__REALTIME_TIMESTAMP) / 1000), how, ''));
    }
  }
  return deaths;
}

function death(who: Death['who'], at: Date, how: string, words: string): Death {
  return { who, at, how, words, lacksMemory: /out of memory|ENOMEM/i.test(words) };
}

function killed(number: number): string {
  const [name] = Object.entries(constants.signals).find(([, value]) => value === number) ?? [];
  return `killed by ${name ?? `signal ${number}`}`;
}

/** Returns the message of the last error in lines of a log: an error that Sluice or Node.js has logged. */
export function lastWords(lines: string[]): string {
  for (const text of lines.toReversed()) {
    const line = parsed(text);
    const error = line?.msg === 'crashed' ? line.error?.split('\n')[0] : undefined;
    const [ofNode] = line === undefined ? (/^(?:FATAL ERROR|(?:\w+ )?\w*Error)\b.*/.exec(text) ?? []) : [];
    const words = error ?? ofNode;
    if (words !== undefined) return words.slice(0, longestWords);
    // Earlier lines are about an earlier process.
    if (line?.msg === 'ready' || line?.source === 'supervisor') return '';
  }
  return '';
}

function parsed(text: string): (Line & { level?: string }) | undefined {
  if (!text.startsWith('{')) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
