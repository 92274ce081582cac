import { constants } from 'node:os';

/** Unexpected end of the server or of the runner. */
export interface Death {
  program: 'server' | 'runner';
  at: Date;
  /** such as `exit status 1` or `killed by SIGKILL`; empty if unknown */
  how: string;
  /** message of the error that ended it; empty if there is none */
  error: string;
  /** true if the system ended it, or it ended itself, because memory ran out */
  lacksMemory: boolean;
}

/** Number of lines before a death that are searched for its cause. */
const linesBefore = 80;
/** Longest error message that is shown, in characters. */
const maxErrorLength = 300;

/** Line of Sluice's own log. */
interface Line {
  level?: string;
  time?: string;
  msg?: string;
  source?: string;
  status?: number | null;
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
  const deaths = new Map<string, Death>();
  for (const [index, text] of lines.entries()) {
    const line = parseLine<Line>(text);
    const program = programOf(line);
    const at = new Date(line?.time ?? Number.NaN);
    if (program === undefined || !(at >= since)) continue;
    const error = lastError(lines.slice(Math.max(0, index - linesBefore), index));
    const found = death(program, at, describeEnd(line), error);
    // The server may log the lost connection before the exit of a runner: both are one death.
    const key = program === 'runner' ? `runner ${line?.pid}` : `server ${index}`;
    const known = deaths.get(key);
    if (known === undefined) deaths.set(key, found);
    else known.how ||= found.how;
  }
  return [...deaths.values()];
}

/** Returns the program whose unexpected end a line reports. */
function programOf({ msg, level, source }: Line = {}): Death['program'] | undefined {
  if (source === 'supervisor' && msg === 'server ended') return 'server';
  const isRunner =
    (msg === 'runner lost' && level === 'warn') || (msg === 'runner ended' && level === 'error');
  return isRunner ? 'runner' : undefined;
}

function describeEnd({ signal, code, status = code }: Line = {}): string {
  if (signal) return `killed by ${signal}`;
  if (status == null) return '';
  // A shell adds 128 to the number of a signal.
  return status > 128 ? killedBy(status - 128) : `exit status ${status}`;
}

/** Ids of systemd's messages: see sd-messages.h of systemd. */
export const journalMessages = {
  processExit: '98e322203f7a4ed290d09fe03c09fe15',
  failed: 'd9b373ed55a64feb8242e02dbe79a49c',
};

/** Entry of the journal, as `journalctl --output=json` prints it. */
type Entry = Partial<
  Record<
    'MESSAGE_ID' | 'UNIT' | 'COMMAND' | 'EXIT_CODE' | 'EXIT_STATUS' | 'UNIT_RESULT' | '__REALTIME_TIMESTAMP',
    string
  >
>;

/**
 * Finds the deaths of the units in the journal. systemd logs nothing about an exit with status 0.
 * @param text output of `journalctl --output=json`
 */
export function deathsInJournal(text: string): Death[] {
  const deaths: Death[] = [];
  for (const line of text.split('\n')) {
    const entry = parseLine<Entry>(line);
    if (entry === undefined) continue;
    const program = entry.UNIT === 'sluice-runner.service' ? 'runner' : 'server';
    if (entry.MESSAGE_ID === journalMessages.failed) {
      const last = deaths.findLast((each) => each.program === program);
      if (last !== undefined && entry.UNIT_RESULT === 'oom-kill') last.lacksMemory = true;
    } else if ((entry.COMMAND ?? 'ExecStart') === 'ExecStart') {
      const status = Number(entry.EXIT_STATUS);
      const how = entry.EXIT_CODE === 'exited' ? `exit status ${status}` : killedBy(status);
      deaths.push(death(program, new Date(Number(entry.__REALTIME_TIMESTAMP) / 1000), how, ''));
    }
  }
  return deaths;
}

function death(program: Death['program'], at: Date, how: string, error: string): Death {
  return { program, at, how, error, lacksMemory: /out of memory|ENOMEM/i.test(error) };
}

function killedBy(signal: number): string {
  const [name] = Object.entries(constants.signals).find(([, number]) => number === signal) ?? [];
  return `killed by ${name ?? `signal ${signal}`}`;
}

/** Returns the message of the last error that Sluice or Node.js logged about the newest process; empty if there is none. */
export function lastError(lines: string[]): string {
  for (const text of lines.toReversed()) {
    const line = parseLine<Line>(text);
    const logged = line?.msg === 'crashed' ? line.error?.split('\n')[0] : undefined;
    const [printed] = line === undefined ? (/^(?:FATAL ERROR|(?:\w+ )?\w*Error)\b.*/.exec(text) ?? []) : [];
    const error = logged ?? printed;
    if (error !== undefined) return error.slice(0, maxErrorLength);
    // Earlier lines are about an earlier process.
    if (line?.msg === 'ready' || line?.source === 'supervisor') return '';
  }
  return '';
}

/** Returns undefined for a line that is not JSON, such as a stack trace or half a line. */
function parseLine<T>(text: string): T | undefined {
  if (!text.startsWith('{')) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
