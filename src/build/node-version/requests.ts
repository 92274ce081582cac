import { join } from 'node:path';
import type { ReleaseSettings } from '../../config/app-directory.ts';
import { type Manifest, readManifest } from '../../config/package-manifest.ts';
import { installDirectory } from '../../config/workspaces.ts';
import type { NodeRequest } from '../../releases/release.ts';
import { readAppTextIfAny } from '../../system/fs/read-file.ts';
import { packageRequests } from './packages.ts';

/**
 * Returns the requests of an app for a Node.js. The first one has precedence: the setting `node`, `.nvmrc`, `.node-version`,
 * `.tool-versions`, `volta` and `engines` in package.json, `devEngines`. For a member of a workspace, those of the member come
 * before those in the workspace root. Packages that fail on newer versions come last.
 * @param tree directory of the release, in which `settings.directory` is the app
 * @throws AppError `invalid_settings`
 */
export async function readNodeRequests(
  tree: string,
  settings: Pick<ReleaseSettings, 'node' | 'directory'>,
): Promise<NodeRequest[]> {
  const { node: text, directory } = settings;
  const ofSetting = text === undefined ? [] : [{ from: 'the setting "node"', text }];
  const manifest = await readManifest(join(tree, directory));
  const ofApp = await requestsIn(join(tree, directory), manifest);
  const ofPackages = await packageRequests(join(tree, await installDirectory(tree, directory)), manifest);
  if (directory === '') return [...ofSetting, ...ofApp, ...ofPackages];
  const ofTop = await requestsIn(tree, await readManifest(tree));
  const atTop = ofTop.map(({ from, text }) => ({ from: `${from} in the workspace root`, text }));
  return [...ofSetting, ...ofApp, ...atTop, ...ofPackages];
}

async function requestsIn(directory: string, manifest: Manifest | undefined): Promise<NodeRequest[]> {
  const found: [from: string, text: string | undefined][] = [];
  for (const { name, read } of versionFiles)
    found.push([name, read((await readAppTextIfAny(directory, name, maxBytes)) ?? '')]);
  found.push(['"volta" in package.json', manifest?.volta?.node]);
  found.push(['"engines" in package.json', manifest?.engines?.node]);
  found.push(['"devEngines" in package.json', runtimeOf(manifest)]);
  return found.flatMap(([from, text]) => (text === undefined ? [] : { from, text }));
}

/** Files of version managers: nvm and fnm, nodenv, asdf and mise. */
const versionFiles: { name: string; read: (content: string) => string | undefined }[] = [
  { name: '.nvmrc', read: firstLine },
  { name: '.node-version', read: firstLine },
  { name: '.tool-versions', read: (content) => /^node(?:js)?[ \t]+([^\s#]+)/m.exec(content)?.[1] },
];

/** Returns the first line with a text that is not a comment. */
function firstLine(content: string): string | undefined {
  return content
    .split('\n')
    .map((line) => line.replace(/#.*/, '').trim())
    .find((line) => line !== '');
}

/** Limit of the size of a version file, in bytes. */
const maxBytes = 8192;

function runtimeOf(manifest: Manifest | undefined): string | undefined {
  const runtimes = [manifest?.devEngines?.runtime ?? []].flat();
  return runtimes.find(({ name }) => name === 'node')?.version;
}
