import type { Command } from 'commander';
import { subcommand } from '../command.ts';
import type { ImportOptions } from '../import/import-pm2.ts';

export function registerImportCommand(program: Command): void {
  const group = program.command('import').description('Move apps from another process manager to Sluice');
  subcommand(
    group,
    'pm2',
    'Show the apps of PM2, create apps with their code and variables, and take over their traffic',
  )
    .option('--dry-run', 'Only show what the import would do')
    .option('-a, --app <name...>', 'Import only these apps, by their names in PM2')
    .option('--variable <name...>', 'Also import these variables, which the plan lists as left out')
    .option(
      '--user <name>',
      'User who runs PM2 (default: the user who ran sudo, or the user of the only PM2)',
    )
    .option(
      '--dump <file>',
      'Read the processes from a file: the output of `pm2 jlist`, or dump.pm2; - for standard input',
    )
    .option('--no-code', 'Create apps and variables, and print settings: a later push brings the code')
    .option('--apply', 'Take over the traffic, and stop the apps in PM2')
    .option('--delete', 'With --apply: delete the apps from PM2 instead of stopping them')
    .option(
      '--undo <app>',
      'Return the traffic of an app to PM2, and stop the app in Sluice. An app on a port of PM2 is down for a few seconds',
    )
    .option('--port <number>', 'Port of the app in PM2, if the import cannot find it')
    .option('--nginx-config <file>', 'Main file of the configuration of nginx, if it is not the usual one')
    .action(async (options: ImportOptions) => {
      const { importPm2 } = await import('../import/import-pm2.ts');
      await importPm2(options);
    });
}
