import type { Check, CheckState } from '../doctor/check.ts';
import { paint } from './output.ts';

const words = { ok: 'ok', warning: 'warning', fault: 'FAULT' } as const;
const colours = { ok: 'green', warning: 'yellow', fault: 'red' } as const;

/** A line for each check, what to do about it below, and at the end how many there are of what. */
export function describeChecks(checks: Check[]): string {
  const width = Math.max(...checks.map(({ name }) => name.length));
  return [...checks.map((check) => describe(check, width)), '', summary(checks)].join('\n');
}

/** The worst of them. */
export function overall(checks: Check[]): CheckState {
  const states = new Set(checks.map(({ state }) => state));
  return states.has('fault') ? 'fault' : states.has('warning') ? 'warning' : 'ok';
}

function describe({ name, state, message, hint }: Check, width: number): string {
  const word = paint(colours[state], words[state].padEnd(words.warning.length));
  const indent = ' '.repeat(words.warning.length + width + 4);
  const [first = '', ...more] = message.split('\n');
  const hints = hint === '' ? [] : hint.split('\n').map((line) => `  ${line}`);
  return [
    `${word}  ${name.padEnd(width)}  ${first}`,
    ...[...more, ...hints].map((line) => indent + line),
  ].join('\n');
}

function summary(checks: Check[]): string {
  const count = (state: CheckState) => checks.filter((check) => check.state === state).length;
  const [faults, warnings] = [count('fault'), count('warning')];
  if (faults + warnings === 0) return `All ${checks.length} checks are ok.`;
  const parts = [
    ...(faults === 0 ? [] : [`${faults} fault${faults === 1 ? '' : 's'}`]),
    ...(warnings === 0 ? [] : [`${warnings} warning${warnings === 1 ? '' : 's'}`]),
  ];
  return `${parts.join(', ')}; ${count('ok')} of ${checks.length} checks are ok.`;
}
