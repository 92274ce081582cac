import { join } from 'node:path';
import type { Notice } from '../../protocol/runner.ts';
import { exists } from '../../system/fs/exists.ts';

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
