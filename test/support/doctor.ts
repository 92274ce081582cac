import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { Paths } from '../../src/config/paths.ts';
import { type CheckResult, examine } from '../../src/doctor/doctor.ts';
import { type CliOptions, cli, sluiceBinary } from './cli.ts';

export interface Outcome {
  state: string;
  /** by name */
  checks: Record<string, CheckResult>;
}

/** Runs all checks for a home in this process; or `sluice doctor`, with another environment or binary. */
export async function doctor(home: string, options?: CliOptions): Promise<Outcome> {
  if (options === undefined) {
    const { state, checks } = await examine(new Paths(home));
    return { state, checks: byName(checks) };
  }
  return outcome(await cli(['doctor', '--json'], { ...options, env: { SLUICE_HOME: home, ...options.env } }));
}

function outcome({ stdout, stderr }: { stdout: string; stderr: string }): Outcome {
  assert.equal(stderr, '');
  const { state, checks } = JSON.parse(stdout) as { state: string; checks: CheckResult[] };
  return { state, checks: byName(checks) };
}

function byName(checks: CheckResult[]): Outcome['checks'] {
  return Object.fromEntries(checks.map((check) => [check.name, check]));
}

const asRoot = process.getuid?.() === 0 ? [] : ['--map-root-user'];

/** Runs `sluice doctor` in a namespace. @param prepare shell commands that change the machine there */
export async function inNamespace(
  home: string,
  kind: '--net' | '--mount',
  prepare: string,
  env: Record<string, string> = {},
): Promise<Outcome> {
  const script = ['sh', '-ec', `${prepare}; exec "$@"`, 'sh'];
  const args = [...asRoot, kind, ...script, sluiceBinary, 'doctor', '--json'];
  return outcome(await cli(args, { binary: 'unshare', env: { SLUICE_HOME: home, ...env } }));
}

export function canMount(): boolean {
  const line = 'mount -t tmpfs tmpfs /mnt';
  return spawnSync('unshare', [...asRoot, '--mount', 'sh', '-c', line]).status === 0;
}
