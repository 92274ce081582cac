import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import type { CheckResult } from '../../src/doctor/doctor.ts';
import { type CliOptions, cli, sluiceBinary } from './cli.ts';

export interface Outcome {
  code: number | null;
  state: string;
  /** by name */
  checks: Record<string, CheckResult>;
}

/** Runs `sluice doctor` for a home. */
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
  const { state, checks } = JSON.parse(stdout) as { state: string; checks: CheckResult[] };
  return { code, state, checks: Object.fromEntries(checks.map((check) => [check.name, check])) };
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
