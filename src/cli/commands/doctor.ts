import type { Command } from 'commander';
import { localHome } from '../../client/server-address.ts';
import { Paths } from '../../config/paths.ts';
import type { CheckState } from '../../doctor/check.ts';
import type { CheckResult, Report } from '../../doctor/doctor.ts';
import { counted } from '../../system/text/format.ts';
import { type CommonOptions, show, subcommand } from '../command.ts';
import { paint } from '../output.ts';

export function registerDoctorCommand(program: Command): void {
  const description = 'Check Sluice on this machine; exit status 1 if there is a fault';
  subcommand(program, 'doctor', description).action(doctor);
}

async function doctor(options: CommonOptions): Promise<void> {
  const { examine } = await import('../../doctor/doctor.ts');
  const home = localHome();
  const report = await examine(new Paths(home));
  await show(options, { home, ...report }, describeReport);
  if (report.state === 'fault') process.exitCode = 1;
}

const words = { ok: 'ok', warning: 'warning', fault: 'FAULT' } as const;
const colours = { ok: 'green', warning: 'yellow', fault: 'red' } as const;

/** Formats a line for each check with its hint below, and a summary. */
function describeReport({ checks }: Report): string {
  const width = Math.max(...checks.map(({ name }) => name.length));
  return [...checks.map((check) => describeCheck(check, width)), '', summary(checks)].join('\n');
}

function describeCheck({ name, state, message, hint }: CheckResult, width: number): string {
  const word = paint(colours[state], words[state].padEnd(words.warning.length));
  const indent = ' '.repeat(words.warning.length + width + 4);
  const [first = '', ...more] = message.split('\n');
  const hints = hint === '' ? [] : hint.split('\n').map((line) => `  ${line}`);
  const below = [...more, ...hints].map((line) => indent + line);
  return [`${word}  ${name.padEnd(width)}  ${first}`, ...below].join('\n');
}

function summary(checks: CheckResult[]): string {
  const count = (state: CheckState) => checks.filter((check) => check.state === state).length;
  const problems = (['fault', 'warning'] as const).filter((state) => count(state) > 0);
  if (problems.length === 0) return `All ${checks.length} checks are ok.`;
  const found = problems.map((state) => counted(count(state), state));
  return `${found.join(', ')}; ${count('ok')} of ${checks.length} checks are ok.`;
}
