import type { LogEntry } from '../api/routes/logs.ts';
import { printableLine } from '../system/text/printable.ts';
import { formatDay, hasColours, paint, twoDigits } from './output.ts';

/** A log for people: `08:32:54 web.0   text`, in their time zone, and the day where it is another one. */
export class LogView {
  readonly #colours = hasColours();
  #day = formatDay(new Date());
  #width = 6;

  /** Formats an entry as a line, after a line with the date if another day begins. */
  show({ time, process, stream, line }: LogEntry): string {
    const date = new Date(time);
    const day = formatDay(date);
    const head = day === this.#day ? '' : `${paint('dim', `-- ${day} --`)}\n`;
    this.#day = day;
    this.#width = Math.max(this.#width, process.length);
    const clock = [date.getHours(), date.getMinutes(), date.getSeconds()].map(twoDigits).join(':');
    const prefix = `${clock} ${process.padEnd(this.#width)}`;
    const dimmed = paint(stream === 'err' ? ['dim', 'red'] : 'dim', prefix);
    const text = printableLine(line, this.#colours && stream !== 'sys');
    return `${head}${dimmed}  ${stream === 'sys' ? paint('cyan', `* ${text}`) : text}`;
  }
}
