import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { systemHome } from '../../config/installed.ts';
import { homeFromEnvironment } from '../../config/paths.ts';
import { AppError } from '../../errors/app-error.ts';
import { smallHeap } from '../../system/process/footprint.ts';

const server = (name: string) => fileURLToPath(new URL(`../../server/${name}`, import.meta.url));
const supervisor = fileURLToPath(new URL('../../../libexec/supervise.sh', import.meta.url));

export function registerUpCommand(program: Command): void {
  program
    .command('up')
    .description('Run Sluice in the foreground, with its state in $SLUICE_HOME or ./.sluice')
    .option('--json', 'Print the URL as JSON when ready')
    .action(up);
}

/**
 * Replaces this process with a shell that runs the server, and starts the server again when it dies. Otherwise the modules
 * of the command line would stay in memory for as long as the server runs. Compiling also takes memory that is never given
 * back (17 MB for stripping types). So a process that ends compiles the server first, with the same flags: V8 refuses code
 * that was compiled under other flags.
 */
function up(options: { json?: true }): void {
  if (systemHome !== undefined && homeFromEnvironment() === systemHome) {
    throw new AppError('already_running', 'this is a system-wide installation, which systemd runs', {
      hint: 'systemctl start sluice.socket sluice',
    });
  }
  spawnSync(process.execPath, [...smallHeap, server('warm.ts')], {
    // The same user runs the server, with the same variables.
    env: process.env,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  if (process.execve === undefined) throw new Error('this platform cannot run `sluice up`');
  const flags = options.json ? ['--json'] : [];
  const command = [process.execPath, ...smallHeap, server('up.ts'), ...flags];
  process.execve('/bin/sh', ['sh', supervisor, homeFromEnvironment(), ...command], process.env);
}
