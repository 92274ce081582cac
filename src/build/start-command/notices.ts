import { join } from 'node:path';
import type { Notice } from '../../protocol/runner.ts';
import { exists } from '../../system/fs/exists.ts';

const pm2Hint =
  'Write the script of the first app as "start" in sluice.json, "instances" as "workers", and the other apps as "processes". Set variables with `sluice env set`. See docs/processes.md.';

/** Hints for configuration files of other tools, by file name. */
const otherTools: Record<string, string> = {
  'ecosystem.config.js': pm2Hint,
  'ecosystem.config.cjs': pm2Hint,
  'ecosystem.config.mjs': pm2Hint,
  'ecosystem.config.json': pm2Hint,
};

/** Returns a notice if the directory of the app has settings of its own, beside those at the top that name this directory. */
export async function unreadSettingsNotices(release: string, directory: string): Promise<Notice[]> {
  const name = join(directory, 'sluice.json');
  if (directory === '' || !(await exists(join(release, name)))) return [];
  return [
    {
      code: 'file_not_read',
      message: `Sluice does not read ${name}, because "directory" is set in the settings at the top`,
      hint: `Move its settings to the top, or write "root": "${directory}" instead of "directory": then only ${name} counts.`,
    },
  ];
}

/** Returns a notice for each configuration file of another tool that the app has. */
export async function otherToolsNotices(directory: string): Promise<Notice[]> {
  const notices: Notice[] = [];
  for (const [name, hint] of Object.entries(otherTools)) {
    if (!(await exists(join(directory, name)))) continue;
    notices.push({ code: 'file_not_read', message: `Sluice does not read ${name}`, hint });
  }
  return notices;
}
