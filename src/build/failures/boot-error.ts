import { AppError } from '../../errors/app-error.ts';
import type { ErrorCode } from '../../errors/codes.ts';
import { textOfAnswer } from './answer.ts';
import { diagnose, quoted } from './diagnose.ts';
import { isWorthQuoting } from './noise.ts';

/** Errors of the runner whose message has the output of an app after its first line. */
const explained = new Set<ErrorCode>(['boot_exited', 'boot_timeout', 'health_failed', 'settle_exited']);

/** Marks of the lines of such a message: lines that the app printed, and lines of its answer to a health check. */
const marks = { printed: '  | ', answered: '  > ' };

/** Number of the last lines that are searched first, and shown if no reason is known. */
const lastLines = 20;
/** First line of an error as Node.js prints it. */
const errorStart = /^(?:Uncaught )?[\w$.]{0,100}(?:Error|Exception)(?:: | [[{]|$)/;
/** Lines of an error that are shown if other output follows the error. */
const linesOfError = 8;

/** Line of the message. */
interface Line {
  mark: string;
  text: string;
}

const omitted: Line = { mark: marks.printed, text: '…' };

/**
 * Returns the error for a release that does not start, with the reason, if the output of the app or its answer shows it, and
 * the one thing to do. Returns any other error unchanged. The runner, which may be root, only passes on the lines.
 * @param release name of its environment, its directory, and whether workers of another release run beside it
 */
export async function explainBoot(
  error: unknown,
  { app, directory, besideLive }: { app: string; directory: string; besideLive: boolean },
): Promise<unknown> {
  if (!(error instanceof AppError) || !explained.has(error.code)) return error;
  const [first = '', ...rest] = error.message.split('\n');
  const answer = textOfAnswer(marked(rest, marks.answered)).map((text) => ({ mark: marks.answered, text }));
  const printed = marked(rest, marks.printed)
    .filter(isWorthQuoting)
    .map((text) => ({ mark: marks.printed, text }));
  const last = [...answer, ...printed.slice(-lastLines)];
  // Some errors list each field of an object after their first line.
  const start = printed.findLastIndex(({ text }) => errorStart.test(text));
  const whole = printed.slice(start === -1 ? printed.length : start);
  const search = (lines: Line[]) => {
    const output = lines.map(({ text }) => text);
    return diagnose({ occasion: 'boot', app, directory, besideLive, command: '', output });
  };
  const inLast = await search(last);
  const known = inLast ?? (await search(whole));
  // Output that the app has written elsewhere may arrive after the error.
  const isFarAbove = whole.length > lastLines;
  const unknown = isFarAbove
    ? [...answer, ...whole.slice(0, linesOfError), omitted, ...whole.slice(linesOfError - lastLines)]
    : last;
  const shown = known === undefined ? unknown : quoted(known === inLast ? last : whole, known.at);
  const message = [
    known === undefined ? first : `${first}: ${known.reason}`,
    ...shown.map(({ mark, text }) => `${mark}${text}`),
  ];
  return new AppError(error.code, message.join('\n'), {
    hint: known?.hint ?? error.hint,
    cause: error.cause,
  });
}

function marked(lines: string[], mark: string): string[] {
  return lines.filter((line) => line.startsWith(mark)).map((line) => line.slice(mark.length));
}
