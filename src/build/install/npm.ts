import { AppError } from '../../errors/app-error.ts';
import { isOnPath } from '../../system/process/run.ts';
import type { CommandRunner } from '../command-runner.ts';
import { baseEnvironment } from '../variables.ts';
import type { RunCommand } from './tools.ts';

/**
 * Returns a function that runs the npm of the machine to install a package for all apps. npm runs as the user of the server, so
 * that no app can change the package.
 * @param name of the package with its version, such as `pnpm@10.34.9`
 */
export function npmInstaller(runner: CommandRunner, name: string): RunCommand {
  return async (argv, directory) => {
    const env = baseEnvironment();
    await requireNpm(env['PATH'] ?? '');
    await runner.run('install', { argv, directory, env, user: null }, `npm install ${name}`);
  };
}

async function requireNpm(path: string): Promise<void> {
  if (await isOnPath('npm', path)) return;
  throw new AppError('install_failed', `npm not found in the PATH of the server: ${path}`, {
    hint: 'Install npm on the server (Debian: `apt-get install npm`), and start Sluice with npm in PATH.',
  });
}
