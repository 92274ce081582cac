import { nodeCron } from '../process/footprint.ts';

/** Expressions with only a minute and an hour, such as `0 3 * * *`: logs are rotated daily, and nothing here needs node-cron for that. */
const minuteAndHour = /^(\*|[1-5]?\d) (\*|1?\d|2[0-3]) \* \* \*$/;
/** Longest time until the next look at the clock, in ms: the machine may be suspended, and its clock may be set. */
const longestWait = 3_600_000;

/** Returns true for a cron expression in the syntax of node-cron. */
export function isSchedule(expression: string): boolean {
  return minuteAndHour.test(expression) || nodeCron().validate(expression);
}

/**
 * Calls `run` at the times of a cron expression, in the time zone of the machine; later, if the machine was suspended then.
 * @returns ends this
 * @throws Error if node-cron is needed and cannot be loaded
 */
export function repeat(expression: string, run: () => void): () => void {
  if (minuteAndHour.test(expression)) return repeatAt(expression, run);
  const task = nodeCron().schedule(expression, run, { suppressMissedWarning: true });
  task.on('execution:missed', run);
  return () => void task.destroy();
}

function repeatAt(expression: string, run: () => void): () => void {
  let timer: NodeJS.Timeout;
  const wait = () => {
    const time = nextTime(expression, Date.now());
    const look = () => {
      if (Date.now() >= time) run();
      wait();
    };
    timer = setTimeout(look, Math.min(time - Date.now(), longestWait));
  };
  wait();
  return () => clearTimeout(timer);
}

/**
 * Returns the first time of an expression with only a minute and an hour, in ms.
 * @param after time in ms
 */
function nextTime(expression: string, after: number): number {
  const [minute, hour] = expression.split(' ');
  const fits = (field: string | undefined, value: number) => field === '*' || Number(field) === value;
  const date = new Date(Math.floor(after / 60_000) * 60_000);
  do date.setTime(date.getTime() + 60_000);
  while (!fits(minute, date.getMinutes()) || !fits(hour, date.getHours()));
  return date.getTime();
}
