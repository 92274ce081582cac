import type { IncomingMessage } from 'node:http';

/**
 * The lines of an answer; what comes after the last line end was broken off. Not by node:readline: it also ends a line
 * at U+2028 and U+2029, which JSON leaves as they are in a text.
 */
export async function* lines(answer: IncomingMessage): AsyncGenerator<string> {
  let rest = '';
  for await (const text of answer.setEncoding('utf8')) {
    const whole = (rest + text).split('\n');
    rest = whole.pop() ?? '';
    yield* whole;
  }
}
