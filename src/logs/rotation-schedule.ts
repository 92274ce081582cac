import { nodeCron } from '../system/node-cron.ts';

/** What is done at set times, until it is ended. */
export interface RotationSchedule {
  end(): void;
}

/** Such as the default, `0 0 * * *`. */
const daily = /^([1-5]?\d) (1?\d|2[0-3]) \* \* \*$/;

/**
 * Calls `due` at the times of a cron expression, in the machine's time zone. What is daily does without node-cron, which
 * takes 8 MB, and would be all that the runner of idle apps needs it for.
 */
export function scheduleRotation(expression: string, due: () => void): RotationSchedule {
  const [, minute, hour] = daily.exec(expression) ?? [];
  if (hour !== undefined) return everyDay({ hour: Number(hour), minute: Number(minute) }, due);
  const task = nodeCron().schedule(expression, due, { suppressMissedWarning: true });
  return { end: () => void task.destroy() };
}

interface TimeOfDay {
  hour: number;
  minute: number;
}

/** A timer knows nothing of a clock that is set while it waits: how often that is looked at, in ms. */
const lookEvery = 60_000;

function everyDay(time: TimeOfDay, due: () => void): RotationSchedule {
  let next = nextAt(time, new Date());
  let timer: NodeJS.Timeout;
  const wait = () => {
    timer = setTimeout(look, Math.min(lookEvery, next.getTime() - Date.now()));
  };
  const look = () => {
    const now = new Date();
    const isDue = now >= next;
    next = nextAt(time, now);
    wait();
    if (isDue) due();
  };
  wait();
  return { end: () => clearTimeout(timer) };
}

/**
 * The first time after `now`. A time that the beginning of summer leaves out is made up for an hour later; of one that
 * its end has twice, the first counts.
 */
export function nextAt({ hour, minute }: TimeOfDay, now: Date): Date {
  const next = new Date(now);
  next.setHours(hour, minute, 0, 0);
  if (next > now) return next;
  next.setDate(next.getDate() + 1);
  // Anew: today's may be one that was left out.
  next.setHours(hour, minute, 0, 0);
  return next;
}
