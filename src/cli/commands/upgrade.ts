import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { installedTree, installRoot } from '../../config/installed.ts';
import { AppError } from '../../errors/app-error.ts';
import { type CommonOptions, subcommand } from '../command.ts';
import { UsageError } from '../failure.ts';
import { print, printJson } from '../output.ts';

export function registerUpgradeCommand(program: Command): void {
  subcommand(
    program,
    'upgrade',
    'Replace Sluice with another version; apps keep running, and no request is lost',
  )
    .option(
      '--to <source>',
      'A version in /opt/sluice, a directory, a .tar.gz file, or the URL of one; SLUICE_SHA256 sets its checksum',
    )
    .option('--back', 'Return to the version before')
    .action(upgrade);
}

/**
 * Runs install.sh, which also does the first installation: it installs beside the running version, switches, and returns to
 * the running version if the new one does not start.
 */
function upgrade({ to, back, json }: CommonOptions & { to?: string; back?: true }): void {
  if (back && to !== undefined) throw new UsageError('--to and --back exclude each other');
  if (installedTree === undefined) {
    throw new UsageError(
      'this Sluice runs from a checkout',
      'Update the checkout with git, then: ./install.sh --local --stop && ./install.sh --local',
    );
  }
  if (process.getuid?.() !== 0) {
    throw new AppError('forbidden', 'an upgrade needs root', { hint: 'Try again with sudo.' });
  }
  const before = current();
  // With --json, only the JSON goes to standard output.
  const { status, error } = spawnSync(join(installedTree, 'install.sh'), [back ? '--rollback' : '--yes'], {
    stdio: ['ignore', json ? 2 : 'inherit', 'inherit'],
    env: { ...process.env, ...(!back && { SLUICE_SOURCE: source(to) }) },
  });
  if (error) throw error;
  const now = current();
  if (json) printJson({ before, now });
  else if (status === 0)
    print(
      now === before ? `${now} continues to run` : `${back ? 'back' : 'upgraded'} from ${before} to ${now}`,
    );
  if (status !== 0) process.exitCode = 1;
}

/** Returns the value of SLUICE_SOURCE for install.sh. */
function source(to: string | undefined): string {
  const given = to || process.env['SLUICE_SOURCE'] || published();
  if (given === undefined) {
    throw new UsageError(
      'no version to upgrade to',
      'Name a directory, a .tar.gz file or the URL of one, with --to or SLUICE_SOURCE.',
    );
  }
  if (/^https?:\/\//.test(given)) return given;
  if (/^[\w.+-]+$/.test(given) && existsSync(join(installRoot, given, 'install.sh')))
    return join(installRoot, given);
  const path = resolve(given);
  if (!existsSync(path)) {
    throw new UsageError(
      `${given} not found, neither here nor as a version in ${installRoot}`,
      'Each installation keeps only the previous version, and removes older ones.',
    );
  }
  return path;
}

/** Returns the URL of newer versions that the publisher has written into install.sh; undefined if there is none. */
function published(): string | undefined {
  const script = readFileSync(join(installRoot, 'current/install.sh'), 'utf8');
  return /^published='(.+)'$/m.exec(script)?.[1];
}

/** Returns the name of the installed version. */
function current(): string {
  return readlinkSync(join(installRoot, 'current'));
}
