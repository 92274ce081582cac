import { createHash } from 'node:crypto';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { exists } from '../../../src/system/fs/exists.ts';
import { run } from './command.ts';

const root = resolve(import.meta.dirname, '../../..');

/** The files of this project as a checkout has them, changed ones as they are now. */
async function projectFiles(): Promise<string[]> {
  const listed = await run('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: root,
  });
  const present: string[] = [];
  for (const file of listed.split('\0').sort())
    if (file !== '' && !file.startsWith('test/') && (await exists(join(root, file)))) present.push(file);
  return present;
}

/** Says when an installation that was made from these files is still the same. */
export async function projectHash(): Promise<string> {
  const hash = createHash('sha256');
  for (const file of await projectFiles())
    hash
      .update(file)
      .update('\0')
      .update(await readFile(join(root, file)));
  return hash.digest('hex').slice(0, 12);
}

/** Copies the project, without its tests, to a directory; its packages are not among it. */
export async function copyProject(directory: string): Promise<void> {
  for (const file of await projectFiles()) {
    await mkdir(dirname(join(directory, file)), { recursive: true });
    await cp(join(root, file), join(directory, file), { verbatimSymlinks: true });
  }
}

/** The same under another version number. */
export async function copyProjectAs(version: string, directory: string): Promise<void> {
  await copyProject(directory);
  for (const name of ['package.json', 'package-lock.json']) {
    const file = join(directory, name);
    const content = JSON.parse(await readFile(file, 'utf8'));
    content.version = version;
    if (content.packages) content.packages[''].version = version;
    await writeFile(file, `${JSON.stringify(content, null, 2)}\n`);
  }
}

/** The version that this project has. */
export async function projectVersion(): Promise<string> {
  return JSON.parse(await readFile(join(root, 'package.json'), 'utf8')).version;
}
