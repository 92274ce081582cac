import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { installedTree, installRoot } from '../../config/installed.ts';
import { AppError } from '../../errors/app-error.ts';
import { type CommonOptions, subcommand } from '../command.ts';
import { UsageError } from '../failure.ts';
import { print, printJson } from '../output.ts';

interface UpgradeOptions extends CommonOptions {
  to?: string;
  back?: true;
}

export function registerUpgradeCommand(program: Command): void {
  subcommand(program, 'upgrade', 'replace Sluice itself by another version; apps go on, no request is lost')
    .option(
      '--to <source>',
      'a version in /opt/sluice, a directory, a .tar.gz file, or the URL of one; SLUICE_SHA256 is the checksum it must have',
    )
    .option('--back', 'return to the version before')
    .action(upgrade);
}

/**
 * The work is done by install.sh, in one place for the first installation and all later ones: it installs beside what
 * runs, switches, and goes back where the new version does not come up.
 */
function upgrade({ to, back, json }: UpgradeOptions): void {
  if (back && to !== undefined) throw new UsageError('--to and --back exclude each other');
  if (installedTree === undefined) {
    throw new UsageError(
      'this Sluice runs from a checkout',
      'Bring it up to date with git, then: ./install.sh --local --stop && ./install.sh --local',
    );
  }
  if (process.getuid?.() !== 0) {
    throw new AppError('forbidden', 'an upgrade needs root', { hint: 'Try again with sudo.' });
  }
  const before = current();
  // Whoever reads JSON gets nothing else on standard output.
  const { status, error } = spawnSync(join(installedTree, 'install.sh'), [back ? '--rollback' : '--yes'], {
    stdio: ['ignore', json ? 2 : 'inherit', 'inherit'],
    env: { ...process.env, ...(!back && { SLUICE_SOURCE: source(to) }) },
  });
  if (error) throw error;
  const now = current();
  if (json) printJson({ before, now });
  else if (status === 0)
    print(now === before ? `${now} goes on` : `${back ? 'back' : 'upgraded'} from ${before} to ${now}`);
  if (status !== 0) process.exitCode = 1;
}

/** What install.sh takes for SLUICE_SOURCE. */
function source(to: string | undefined): string {
  const given = to || process.env['SLUICE_SOURCE'] || published();
  if (given === undefined) {
    throw new UsageError(
      'nothing says what to upgrade to',
      '--to names a directory, a .tar.gz file or the URL of one; SLUICE_SOURCE does the same.',
    );
  }
  if (/^https?:\/\//.test(given)) return given;
  if (/^[\w.+-]+$/.test(given) && existsSync(join(installRoot, given, 'install.sh')))
    return join(installRoot, given);
  const path = resolve(given);
  if (!existsSync(path)) {
    throw new UsageError(
      `there is no ${given}, neither here nor as a version in ${installRoot}`,
      'A version is kept until the one after the next has been installed.',
    );
  }
  return path;
}

/** Where whoever has published this version says that there are others; it is a line of install.sh. */
function published(): string | undefined {
  const script = readFileSync(join(installRoot, 'current/install.sh'), 'utf8');
  return /^published='(.+)'$/m.exec(script)?.[1];
}

/** The name of the version that is installed. */
function current(): string {
  return readlinkSync(join(installRoot, 'current'));
}
