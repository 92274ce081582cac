import { join } from 'node:path';
import type { Notice } from '../../protocol/runner.ts';
import { exists } from '../../system/fs/exists.ts';

/** Files in which other tools are told what to run, and what to do instead here. */
const files: Record<string, string> = {
  Procfile:
    'What its "web" runs is "start" in sluice.json, its "release" is "preSwitch" in "hooks", and other processes are named in "processes".',
  'ecosystem.config.js': pm2(),
  'ecosystem.config.cjs': pm2(),
  'ecosystem.config.mjs': pm2(),
  'ecosystem.config.json': pm2(),
};

/** Files of other tools in the app: whoever brings one expects that it is read. */
export async function otherToolsNotices(directory: string): Promise<Notice[]> {
  const notices: Notice[] = [];
  for (const [name, hint] of Object.entries(files)) {
    if (!(await exists(join(directory, name)))) continue;
    notices.push({ code: 'file_not_read', message: `${name} is not read in this version`, hint });
  }
  return notices;
}

function pm2(): string {
  return 'What its first app runs is "start" in sluice.json, "instances" is "workers", its other apps are "processes", and variables are set with `sluice env set`. docs/processes.md has the rest.';
}
