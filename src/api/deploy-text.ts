import { environmentName } from '../config/paths.ts';
import { describeLive } from '../config/reach.ts';
import type { DeployEvent } from '../deploy/events.ts';
import type { Release } from '../releases/release.ts';
import { printable, printableLine } from '../system/text/printable.ts';

export type EventRenderer = (event: DeployEvent) => string;

export function renderJsonLine(event: DeployEvent): string {
  return `${JSON.stringify(event)}\n`;
}

/**
 * Renders an event of the live log for people, safe for a terminal. Only the last line of the log starts with `live:` or
 * `failed:`.
 */
export function renderText(event: DeployEvent): string {
  return printable(describe(event), true);
}

function describe(event: DeployEvent): string {
  switch (event.event) {
    case 'accepted':
      return `release ${event.release} of ${event.app} (${event.environment})\n`;
    case 'step':
      return `-- ${event.step}\n`;
    case 'log':
      return `${`   ${printableLine(event.line, true)}`.trimEnd()}\n`;
    case 'notice':
      return lines([`note: ${event.message}`, event.hint]);
    case 'live':
      return `live: ${describeLive(event)}\n`;
    case 'failed': {
      const { code, message, hint, step } = event.error;
      const [first = '', ...rest] = message.split('\n');
      const at = step === null ? '' : ` at ${step}`;
      return `${lines(['', ...rest, hint])}failed: ${code}${at}: ${first}\n`;
    }
  }
}

/** Joins lines: the first as it is, the others indented. Empty lines are left out. */
function lines([first = '', ...others]: string[]): string {
  const below = others
    .flatMap((text) => text.split('\n'))
    .filter((text) => text !== '')
    .map((text) => `   ${text}\n`);
  return `${first === '' ? '' : `${first}\n`}${below.join('')}`;
}

/** Renders an event as `sluice` prints it: as text, but the error comes last, with its hint. For libexec/rollback.pl. */
export function renderTerminal(event: DeployEvent): string {
  if (event.event !== 'failed') return renderText(event);
  const { message, hint, step } = event.error;
  const below = hint === '' ? '' : `  ${hint.replaceAll('\n', '\n  ')}\n`;
  return printable(`failed${step === null ? '' : ` at ${step}`}: ${message}\n${below}`, true);
}

/** Renders an event for the client of a push: as text, but a failure ends with all that the client should know, the hint last. */
export function renderPush(event: DeployEvent): string {
  if (event.event !== 'failed') return renderText(event);
  const { error, release } = event;
  const [first = '', ...rest] = error.message.split('\n');
  const failure = error.step === null ? 'refused' : `failed at ${error.step}`;
  const hint = error.hint === '' ? [] : error.hint.split('\n').map((line) => `  ${line}`);
  const all = [
    '',
    `${failure}: ${first}`,
    ...rest,
    ...(release === null ? [] : failedRelease(release)),
    ...hint,
  ];
  return printable(all.map((line) => `${line.trimEnd()}\n`).join(''), true);
}

function failedRelease({ app, environment, number }: Release): string[] {
  const name = environmentName({ app, environment });
  return [
    '  The live release and the branch have not changed.',
    `  Show the log on the server: sluice releases ${name} ${number} --log`,
  ];
}
