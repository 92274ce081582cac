import { join } from 'node:path';
import { readManifest } from '../../config/package-manifest.ts';
import { hasCode } from '../../errors/app-error.ts';
import type { Notice } from '../../protocol/runner.ts';
import { exists } from '../../system/fs/exists.ts';
import { NoFile, openFile, readText } from '../../system/fs/read-file.ts';
import { includesVersion } from './semver-range.ts';

/** Files of version managers (nvm, fnm, nodenv) in which an app names its Node.js. */
const versionFiles = ['.nvmrc', '.node-version'];

/**
 * Where an app asks for another Node.js than the one it gets: all run on the same.
 * @param version of the Node.js that apps run on, such as `26.10.0`
 * @throws AppError `invalid_settings`
 */
export async function nodeVersionNotices(directory: string, version: string): Promise<Notice[]> {
  const asked: string[] = [];
  const range = (await readManifest(directory))?.engines?.node;
  if (range !== undefined && includesVersion(range, version) === false) {
    asked.push(`"engines" in package.json asks for Node.js ${range}`);
  }
  for (const name of versionFiles) {
    const named = await readVersionFile(directory, name);
    const major = /^v?(\d+)(?:\.|$)/.exec(named)?.[1];
    if (major !== undefined && major !== version.split('.')[0]) asked.push(`${name} names Node.js ${named}`);
  }
  if (asked.length === 0) return [];
  return [
    {
      code: 'other_node_version',
      message: `${asked.join(', ')}: it is built and run with Node.js ${version}`,
      hint: 'All apps run on the Node.js that Sluice brings. Test yours with it, and change what it asks for.',
    },
  ];
}

/** Its first line; empty where there is none that could be a version. */
async function readVersionFile(directory: string, name: string): Promise<string> {
  try {
    await using file = await openFile(join(directory, name), directory);
    if ((await file.stat()).size > 1024) return '';
    return (await readText(file)).trim().split('\n', 1)[0]?.trim() ?? '';
  } catch (error) {
    if (error instanceof NoFile || hasCode(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EACCES')) return '';
    throw error;
  }
}

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
