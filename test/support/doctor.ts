import assert from 'node:assert/strict';
import type { Check } from '../../src/cli/doctor/check.ts';
import { type CliOptions, cli } from './cli.ts';

export interface Outcome {
  code: number | null;
  state: string;
  /** by name */
  checks: Record<string, Check>;
}

/** What `sluice doctor` says of a home. */
export async function doctor(home: string, { env = {}, ...options }: CliOptions = {}): Promise<Outcome> {
  const ran = await cli(['doctor', '--json'], { ...options, env: { SLUICE_HOME: home, ...env } });
  return outcome(ran);
}

export function outcome({
  code,
  stdout,
  stderr,
}: {
  code: number | null;
  stdout: string;
  stderr: string;
}): Outcome {
  assert.equal(stderr, '');
  const { state, checks } = JSON.parse(stdout) as { state: string; checks: Check[] };
  return { code, state, checks: Object.fromEntries(checks.map((check) => [check.name, check])) };
}
