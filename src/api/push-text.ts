import { environmentName } from '../config/paths.ts';
import type { DeployEvent } from '../deploy/events.ts';
import type { Release } from '../releases/release.ts';
import { printable } from '../system/text/printable.ts';
import { renderText } from './deploy-text.ts';

/** A deploy as whoever has pushed it is shown it: as text, but for the end of one that failed, which says all there is. */
export function renderPush(event: DeployEvent): string {
  if (event.event !== 'failed') return renderText(event);
  const { error, release } = event;
  const [first = '', ...rest] = error.message.split('\n');
  const at = error.step === null ? 'refused' : `failed at ${error.step}`;
  return lines([
    '',
    `${at}: ${first}`,
    ...rest,
    ...(error.hint === '' ? [] : error.hint.split('\n').map((line) => `  ${line}`)),
    ...(release === null ? [] : logOf(release)),
  ]);
}

function logOf({ app, environment, number }: Release): string[] {
  const name = environmentName({ app, environment });
  return [
    `  Its log, on the server: sluice releases ${name} ${number} --log`,
    '  Nothing that was live has changed, and the branch has not moved.',
  ];
}

function lines(all: string[]): string {
  return printable(all.map((line) => `${line.trimEnd()}\n`).join(''), true);
}
