import type { Command } from 'commander';
import { type AppOptions, appSubcommand, parseEnvironment, show } from '../command.ts';
import { UsageError } from '../failure.ts';
import { printRemark } from '../output.ts';
import type { Preview } from '../preview/preview.ts';
import { appNameIn, previewDirectory } from '../upload/app-directory.ts';

type CheckOptions = AppOptions & { app?: string };

export function registerCheckCommands(program: Command): void {
  const appOption = [
    '-a, --app <name>',
    'Name of the app, or `APP@ENVIRONMENT` (default: the name in package.json)',
  ] as const;
  appSubcommand(
    program,
    'check [directory]',
    'Show what a deploy of a directory would decide, without a server',
  )
    .option(...appOption)
    .action(check);
  appSubcommand(
    program,
    'init [directory]',
    'Write a sluice.json with comments, for what a deploy would decide',
  )
    .option(...appOption)
    .action(init);
}

async function check(directory: string | undefined, options: CheckOptions): Promise<void> {
  const { previewText } = await import('../preview/preview-text.ts');
  await show(options, previewOf(directory, options), previewText);
}

async function init(directory: string | undefined, options: CheckOptions): Promise<void> {
  const { writeSettings } = await import('../preview/write-settings.ts');
  const found = await previewOf(directory, options);
  await show(options, writeSettings(found), ({ path }) => `wrote ${path}: all settings have comments`);
}

async function previewOf(
  directory: string | undefined,
  { app, environment }: CheckOptions,
): Promise<Preview> {
  const root = await previewDirectory(directory);
  const { preview } = await import('../preview/preview.ts');
  return preview(root, parseEnvironment(app ?? (await nameIn(root)), environment), printRemark);
}

/** Returns the name of the app in a directory; a stand-in if it has none, because only the setting "root" uses names. */
async function nameIn(directory: string): Promise<string> {
  return appNameIn(directory).catch((error: unknown) => {
    if (!(error instanceof UsageError)) throw error;
    return 'app';
  });
}
