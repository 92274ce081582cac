import { linkFiles } from '../apps/files.ts';
import { findAssets, unlistedAssets } from '../build/find-assets.ts';
import { ReleasePaths } from '../config/paths.ts';
import type { RunPlan } from '../releases/release.ts';
import { readUndamagedJson, writeJsonAtomic } from '../system/fs/files.ts';
import { counted } from '../system/text/format.ts';
import type { Deployment } from './deployment.ts';

/**
 * Links the hashed files of the releases that remain with the new release into it: pages that browsers have open load scripts
 * of the release that sent the page. Records which of the files the new release has built itself, so that a file remains only as
 * long as a release that has built it.
 */
export async function carryAssets(
  deployment: Pick<Deployment, 'environment' | 'tree' | 'log'>,
  { settings, static: site }: Pick<RunPlan, 'settings' | 'static'>,
): Promise<Pick<RunPlan, 'earlierAssets'>> {
  const { environment, tree } = deployment;
  const { paths } = environment;
  const own = await findAssets(tree, { assets: settings.assets, site: site?.directory });
  if (own.length > 0) await writeJsonAtomic(new ReleasePaths(tree).assets, own);
  const present = new Set(own);
  const files: string[] = [];
  // The new release is one of those that are kept.
  for (const release of (await liveReleases(deployment)).slice(0, settings.keepReleases - 1)) {
    for (const path of await assetsOf(paths.release(release).assets)) {
      if (present.has(path)) continue;
      present.add(path);
      files.push(`${release}/${path}`);
    }
  }
  if (files.length === 0) return {};
  const { linked, refused, code } = await linkFiles(environment, tree, files).catch((error: unknown) => ({
    // The release is complete without these files.
    ...{ linked: 0, refused: files.length, code: firstLine((error as Error).message) },
  }));
  if (linked > 0)
    deployment.log(
      `keeps ${counted(linked, 'file')} of earlier releases for pages that are open in browsers`,
    );
  if (refused > 0) deployment.log(`${counted(refused, 'file')} of earlier releases not kept: ${code}`);
  const earlierAssets = unlistedAssets(files.map((file) => file.slice(file.indexOf('/') + 1)));
  return earlierAssets.length > 0 ? { earlierAssets } : {};
}

/** Returns the first line of a message, which may have the output of a program. */
function firstLine(message: string): string {
  return (message.split('\n', 1)[0] ?? '').slice(0, 200);
}

/** Returns the numbers of the releases that were live and still exist, the newest first. */
async function liveReleases({ environment: { store } }: Pick<Deployment, 'environment'>): Promise<number[]> {
  const active = await store.active();
  const numbers = (await store.retained()).map(({ number }) => number);
  return [...numbers, ...(active === null ? [] : [active.release])].sort((a, b) => b - a);
}

/** Returns the recorded files of a release; none if the record is missing, as in earlier versions of Sluice, or damaged. */
async function assetsOf(path: string): Promise<string[]> {
  const value = await readUndamagedJson(path);
  return Array.isArray(value) ? value.filter(isInside) : [];
}

/** Without users of apps, an app can change the record. */
function isInside(path: unknown): path is string {
  return typeof path === 'string' && !/^\/|\0/.test(path) && !path.split('/').includes('..');
}
