import { join } from 'node:path';
import { readManifest } from '../../config/package-manifest.ts';
import type { Notice } from '../../protocol/runner.ts';
import { exists } from '../../system/fs/exists.ts';
import { readAppText } from '../../system/fs/read-file.ts';

/** Files of version managers (nvm, fnm, nodenv) that name the Node.js of an app. */
const versionFiles = ['.nvmrc', '.node-version'];

/**
 * Returns a notice if an app asks for another Node.js than the one that runs all apps.
 * @param version of the Node.js that runs apps, such as `26.10.0`
 * @throws AppError `invalid_settings`
 */
export async function nodeVersionNotices(directory: string, version: string): Promise<Notice[]> {
  const requests: string[] = [];
  const range = (await readManifest(directory))?.engines?.node;
  if (range !== undefined && (await excludes(range, version))) {
    requests.push(`"engines" in package.json asks for Node.js ${range}`);
  }
  for (const name of versionFiles) {
    const named = await readVersionFile(directory, name);
    const namedMajor = /^v?(\d+)(?:\.|$)/.exec(named)?.[1];
    if (namedMajor !== undefined && !version.startsWith(`${namedMajor}.`))
      requests.push(`${name} names Node.js ${named}`);
  }
  if (requests.length === 0) return [];
  return [
    {
      code: 'other_node_version',
      message: `${requests.join(', ')}: Sluice builds and runs the app with Node.js ${version}`,
      hint: 'All apps run on the Node.js of Sluice. Test your app with this version, and change what the app asks for.',
    },
  ];
}

/** Returns true if a range excludes a version; false for an invalid range. */
async function excludes(range: string, version: string): Promise<boolean> {
  // Loaded here to save 3 MB of memory: few apps have "engines".
  const { default: satisfies } = await import('semver/functions/satisfies.js');
  const { default: validRange } = await import('semver/ranges/valid.js');
  return validRange(range) !== null && !satisfies(version, range);
}

/** Returns the first line of a version file; '' if the file is missing, too large or not readable. */
async function readVersionFile(directory: string, name: string): Promise<string> {
  try {
    const text = await readAppText(join(directory, name), directory, 1024);
    return text.trim().split('\n', 1)[0]?.trim() ?? '';
  } catch {
    return '';
  }
}

const pm2Hint =
  'Write the script of the first app as "start" in sluice.json, "instances" as "workers", and the other apps as "processes". Set variables with `sluice env set`. See docs/processes.md.';

/** Hints for configuration files of other tools, by file name. */
const otherTools: Record<string, string> = {
  Procfile:
    'Write the command of "web" as "start" in sluice.json, "release" as "preSwitch" in "hooks", and other processes as "processes".',
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
