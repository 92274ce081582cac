import { readlink } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { ownEnvironment, runAs } from '../system/process/run.ts';
import { type Check, fault, ok, type Patient, warning } from './check.ts';
import { ownerOf, serverPath } from './server-path.ts';

const root = resolve(import.meta.dirname, '../..');

/** Whether the Node.js that Sluice carries runs, which apps run on too, and npm, which most are built with. */
export async function checkNode({ server, paths }: Patient): Promise<Check> {
  const node = await versionOf(join(root, 'libexec/node'), paths.home, {});
  if ('failure' in node)
    return fault('node', `the Node.js of Sluice does not run: ${node.failure}`, hintFor(node.failure));
  if (server.state === 'up' && (await isReplaced(server.status.server.pid))) {
    return warning(
      'node',
      'the server runs on a Node.js whose file has been replaced',
      'Start Sluice again. Apps take over the new one with their next deploy or restart.',
    );
  }
  const path = `${join(root, 'runtime/bin')}:${await serverPath(server)}`;
  const npm = await versionOf('npm', paths.home, { PATH: path, npm_config_logs_max: '0' });
  if (!('failure' in npm))
    return ok('node', `Node.js ${node.version.replace(/^v/, '')} and npm ${npm.version} run`);
  return warning(
    'node',
    `npm does not run, so apps with packages cannot be built: ${npm.failure}`,
    'Install it (Debian: apt-get install npm), or see that it is in the PATH of Sluice.',
  );
}

/** Runs a program as the user of the home, whose PATH decides which program that is. */
async function versionOf(
  program: string,
  home: string,
  env: Record<string, string>,
): Promise<{ version: string } | { failure: string }> {
  try {
    // On a busy machine this takes seconds, although the programs work.
    const options = { env: ownEnvironment(env), timeout: 30_000 };
    return { version: (await runAs(await ownerOf(home), [program, '--version'], options)).trim() };
  } catch (error) {
    return { failure: (error as Error).message };
  }
}

function hintFor(failure: string): string {
  if (failure.includes('libatomic')) return 'Debian: apt-get install libatomic1';
  return 'Install Sluice anew: `./install.sh`, or `npm ci` in a checkout.';
}

/** The kernel says so of a program whose file is no more. */
async function isReplaced(pid: number): Promise<boolean> {
  const path = await readlink(`/proc/${pid}/exe`).catch(() => '');
  return path.endsWith(' (deleted)');
}
