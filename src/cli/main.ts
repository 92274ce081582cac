import { Command, CommanderError } from 'commander';
import { version } from '../config/installed.ts';
import { registerAccessCommands } from './commands/access.ts';
import { registerAppCommands } from './commands/apps.ts';
import { registerBackupCommands } from './commands/backup.ts';
import { registerCacheCommands } from './commands/cache.ts';
import { registerCheckCommands } from './commands/check.ts';
import { registerDeployCommands } from './commands/deploy.ts';
import { registerDoctorCommand } from './commands/doctor.ts';
import { registerDomainCommands } from './commands/domains.ts';
import { registerEnvCommands } from './commands/env.ts';
import { registerImportCommand } from './commands/import.ts';
import { registerLogsCommand } from './commands/logs.ts';
import { registerMonitCommand } from './commands/monit.ts';
import { registerNodeCommands } from './commands/node.ts';
import { registerReleaseCommands } from './commands/releases.ts';
import { registerRunCommands, separateCommand } from './commands/run.ts';
import { registerUpCommand } from './commands/up.ts';
import { registerUpgradeCommand } from './commands/upgrade.ts';
import { reportFailure } from './failure.ts';
import { otherNames, registerUnneededCommands, similarNames } from './other-names.ts';
import { withProcessHint } from './process-hint.ts';

const epilogue = `
Deploy with git: git push deploy main (see docs/git.md).
Server: SLUICE_URL with SLUICE_TOKEN, else SLUICE_HOME, else ~/.config/sluice/config.json
({"url": …, "token": …}), else the system-wide installation, else ./.sluice, else .sluice in
Sluice's checkout.
From PM2: list, ls, describe, reload, delete and monit work; startup, save and flush say what Sluice
does instead (see docs/from-pm2.md).
Exit status: 0 done, 1 failed, 2 wrong usage.`;

async function main(): Promise<void> {
  const program = new Command('sluice')
    .description('Deploy Node.js apps to a server of your own without losing a request.')
    .version(version, '--version', 'Print the version')
    .helpOption('-h, --help', 'Print help')
    .helpCommand(false)
    .addHelpText('after', epilogue)
    .exitOverride()
    .showHelpAfterError('(See --help)');
  registerUpCommand(program);
  registerDeployCommands(program);
  registerCheckCommands(program);
  registerAppCommands(program);
  registerReleaseCommands(program);
  registerRunCommands(program);
  registerLogsCommand(program);
  registerMonitCommand(program);
  registerEnvCommands(program);
  registerAccessCommands(program);
  registerDomainCommands(program);
  registerDoctorCommand(program);
  registerCacheCommands(program);
  registerNodeCommands(program);
  registerImportCommand(program);
  registerBackupCommands(program);
  registerUpgradeCommand(program);
  registerUnneededCommands(program);
  try {
    await program.parseAsync(argumentsOf(program, process.argv));
  } catch (error) {
    // Commander has printed help, the version, or the error.
    if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2;
    else {
      const reported = await withProcessHint(error, process.argv[2]);
      process.exitCode = reportFailure(reported, process.argv.includes('--json'));
    }
  }
}

/**
 * Returns the arguments to parse, with our name of a command for a name of PM2. An unknown command stands alone in them: with
 * `--help`, Commander would print the general help for it.
 * @throws CommanderError for a name that resembles one of our commands
 */
function argumentsOf(program: Command, argv: string[]): string[] {
  const [node = '', script = '', name = '-', ...rest] = argv;
  if (name === 'run') return separateCommand(argv);
  if (name.startsWith('-') || program.commands.some((command) => command.name() === name)) return argv;
  if (Object.hasOwn(otherNames, name)) return [node, script, otherNames[name] ?? name, ...rest];
  if (!Object.hasOwn(similarNames, name)) return argv.slice(0, 3);
  program.error(`error: unknown command '${name}'\n(Did you mean ${similarNames[name]}?)`);
}

// The reader of the output may end first, as `head` does.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit();
});

await main();
