import { nodeCron } from '../process/footprint.ts';

/** Expressions with only a minute and an hour, such as `0 3 * * *`. They work without node-cron. */
const minuteAndHour = /^(\*|[1-5]?\d) (\*|1?\d|2[0-3]) \* \* \*$/;
/** Longest time between two checks of the clock, in ms. Timers stop while a machine is suspended, and a clock may be set. */
const longestWait = 3_600_000;

/** Returns true for a cron expression in the syntax of node-cron. */
export function isSchedule(expression: string): boolean {
  return minuteAndHour.test(expression) || nodeCron().validate(expression);
}

/**
 * Calls `run` at the times of a cron expression, in the time zone of the machine. After times that a suspended machine has missed,
 * calls `run` once.
 * @returns a function that ends the schedule
 * @throws Error if node-cron is needed and cannot be loaded
 */
export function repeat(expression: string, run: () => void): () => void {
  return minuteAndHour.test(expression) ? repeatAt(expression, run) : repeatByNodeCron(expression, run);
}

function repeatByNodeCron(expression: string, run: () => void): () => void {
  const task = nodeCron().schedule(expression, run, { suppressMissedWarning: true });
  let isMissed = false;
  // node-cron emits this event for each missed time, one after the other.
  task.on('execution:missed', () => {
    if (isMissed) return;
    isMissed = true;
    setImmediate(() => {
      isMissed = false;
      run();
    });
  });
  return () => void task.destroy();
}

function repeatAt(expression: string, run: () => void): () => void {
  let timer: NodeJS.Timeout;
  const wait = () => {
    const now = Date.now();
    const time = nextTime(expression, now);
    const check = () => {
      const isDue = Date.now() >= time;
      wait();
      if (isDue) run();
    };
    timer = setTimeout(check, Math.min(time - now, longestWait));
  };
  wait();
  return () => clearTimeout(timer);
}

/**
 * Returns the first time after another one that fits an expression with only a minute and an hour. When summer time begins, a time of
 * day that is left out is an hour later; when it ends, the first of two equal times counts.
 * @param after ms since 1970, as the result
 */
function nextTime(expression: string, after: number): number {
  const [minute, hour] = expression.split(' ').map((field) => (field === '*' ? undefined : Number(field)));
  if (minute !== undefined && hour !== undefined) {
    const date = new Date(after);
    date.setHours(hour, minute, 0, 0);
    if (date.getTime() > after) return date.getTime();
    const day = new Date(after);
    return new Date(day.getFullYear(), day.getMonth(), day.getDate() + 1, hour, minute).getTime();
  }
  const date = new Date(Math.floor(after / 60_000) * 60_000);
  do date.setTime(date.getTime() + 60_000);
  while (
    (minute ?? date.getMinutes()) !== date.getMinutes() ||
    (hour ?? date.getHours()) !== date.getHours()
  );
  return date.getTime();
}
