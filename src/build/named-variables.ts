import { join } from 'node:path';
import { listDirectory } from '../system/fs/files.ts';
import { readAppTextIfAny } from '../system/fs/read-file.ts';

/** Files that configure the package manager or a build tool. Files of process managers configure no build. */
const configuration =
  /^(?:\.npmrc|\.yarnrc|\.yarnrc\.yml|bunfig\.toml|(?!(?:ecosystem|pm2|process)\.).+\.config\.[cm]?[jt]s)$/;

/** Limits of the search, as for other small files of an app. */
const limits = { files: 64, bytes: 256 * 1024 };

/**
 * Returns the variables that the build of an app uses, as far as files tell: those that the configuration of the package manager or a
 * build tool names, or a command of the build.
 * @param directories of the app and its workspace, relative to `tree`
 */
export async function namedVariables(
  tree: string,
  { directories, commands }: { directories: string[]; commands: string[] },
): Promise<Set<string>> {
  const texts = [...commands];
  for (const directory of new Set(directories)) {
    const names = (await listDirectory(join(tree, directory))).filter((name) => configuration.test(name));
    for (const name of names.slice(0, limits.files)) {
      texts.push((await readAppTextIfAny(tree, join(directory, name), limits.bytes)) ?? '');
    }
  }
  return new Set(texts.flatMap((text) => text.match(/[A-Za-z_][A-Za-z0-9_]*/g) ?? []));
}
