import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { systemHome } from '../../config/installed.ts';
import { homeFromEnvironment } from '../../config/paths.ts';
import { AppError } from '../../errors/app-error.ts';
import { smallHeap } from '../../system/small-heap.ts';

const server = (name: string) => fileURLToPath(new URL(`../../server/${name}`, import.meta.url));
const supervisor = fileURLToPath(new URL('../../../libexec/supervise.sh', import.meta.url));

export function registerUpCommand(program: Command): void {
  program
    .command('up')
    .description('run Sluice here, in the foreground; its state is in $SLUICE_HOME, else in ./.sluice')
    .option('--json', 'say as JSON that it is ready, and at which URL')
    .action(up);
}

/**
 * Becomes a shell that runs the server, and starts it again when it dies: this process is replaced, since what the command
 * line has loaded would stay in its memory for as long as it runs. Compiling costs memory that is not given back either (17 MB for stripping types), so it is
 * done before, by a process that ends, with the same flags: V8 refuses what was compiled under others.
 */
function up(options: { json?: true }): void {
  if (systemHome !== undefined && homeFromEnvironment() === systemHome) {
    throw new AppError('already_running', 'this is a system-wide install: systemd starts it', {
      hint: 'systemctl start sluice',
    });
  }
  spawnSync(process.execPath, [...smallHeap, server('warm.ts')], { stdio: ['ignore', 'ignore', 'inherit'] });
  if (process.execve === undefined) throw new Error('this platform cannot run `sluice up`');
  const flags = options.json ? ['--json'] : [];
  const command = [process.execPath, ...smallHeap, server('up.ts'), ...flags];
  process.execve('/bin/sh', ['sh', supervisor, homeFromEnvironment(), ...command], process.env);
}
