import { Command, CommanderError } from 'commander';
import { registerAppCommands } from './commands/apps.ts';
import { registerBackupCommands } from './commands/backup.ts';
import { registerDeployCommands } from './commands/deploy.ts';
import { registerDoctorCommand } from './commands/doctor.ts';
import { registerDomainCommands } from './commands/domains.ts';
import { registerEnvCommands } from './commands/env.ts';
import { registerKeyCommands } from './commands/keys.ts';
import { registerLogsCommand } from './commands/logs.ts';
import { registerProcessCommands } from './commands/processes.ts';
import { registerReleaseCommands } from './commands/releases.ts';
import { registerTokenCommands } from './commands/token.ts';
import { registerUpCommand } from './commands/up.ts';
import { registerUpgradeCommand } from './commands/upgrade.ts';
import { reportFailure } from './failure.ts';
import { withoutOtherNames } from './other-names.ts';
import { version } from './version.ts';

const epilogue = `
To deploy with git: git push deploy main; docs/git.md says how.
Which server: SLUICE_URL with SLUICE_TOKEN, else SLUICE_HOME, else ~/.config/sluice/config.json
({"url": …, "token": …}), else the one that runs in ./.sluice or in Sluice's own checkout.
Exit status: 0 done, 1 failed, 2 wrong usage.`;

async function main(): Promise<void> {
  const program = new Command('sluice')
    .description('Put a Node.js app on a server of your own, with no request lost.')
    .version(version(), '--version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .helpCommand(false)
    .addHelpText('after', epilogue)
    .exitOverride()
    .showHelpAfterError('(--help tells more)');
  registerUpCommand(program);
  registerDeployCommands(program);
  registerAppCommands(program);
  registerReleaseCommands(program);
  registerLogsCommand(program);
  registerEnvCommands(program);
  registerProcessCommands(program);
  registerTokenCommands(program);
  registerKeyCommands(program);
  registerDomainCommands(program);
  registerDoctorCommand(program);
  registerBackupCommands(program);
  registerUpgradeCommand(program);
  try {
    await program.parseAsync(withoutOtherNames(program, process.argv));
  } catch (error) {
    // Commander has said what there is to say: help, the version, or what is wrong with the command.
    if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2;
    else process.exitCode = reportFailure(error, process.argv.includes('--json'));
  }
}

// The reader of our output may go away, as `head` does: then there is nobody left to tell.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit();
});

await main();
