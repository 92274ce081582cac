import type { Command } from 'commander';
import { Paths } from '../../config/paths.ts';
import { type CommonOptions, subcommand } from '../command.ts';
import { print, printJson } from '../output.ts';
import { localHome } from '../server-address.ts';

export function registerDoctorCommand(program: Command): void {
  subcommand(
    program,
    'doctor',
    'look for what is wrong with Sluice on this machine; exit status 1 where something is',
  ).action(doctor);
}

async function doctor({ json }: CommonOptions): Promise<void> {
  const [{ examine }, { describeChecks, overall }] = await Promise.all([
    import('../../doctor/examine.ts'),
    import('../doctor-view.ts'),
  ]);
  const home = localHome();
  const checks = await examine(new Paths(home));
  const state = overall(checks);
  if (json) printJson({ home, state, checks });
  else print(describeChecks(checks));
  if (state === 'fault') process.exitCode = 1;
}
