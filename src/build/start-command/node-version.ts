import { join } from 'node:path';
import { readManifest } from '../../config/package-manifest.ts';
import { hasCode } from '../../errors/app-error.ts';
import type { Notice } from '../../protocol/runner.ts';
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
