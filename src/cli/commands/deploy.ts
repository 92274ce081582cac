import type { Command } from 'commander';
import { type EnvironmentId, environmentName } from '../../config/paths.ts';
import { AppError } from '../../errors/app-error.ts';
import type { Release } from '../../releases/release.ts';
import { counted } from '../../system/text/format.ts';
import {
  type AppOptions,
  appPath,
  appSubcommand,
  type CommonOptions,
  call,
  connect,
  parseEnvironment,
  wholeNumber,
} from '../command.ts';
import { UsageError } from '../failure.ts';
import { createView, followDeploy } from '../follow-deploy.ts';
import { print, printJson } from '../output.ts';
import { appDirectory, appNameIn } from '../upload/app-directory.ts';

export function registerDeployCommands(program: Command): void {
  appSubcommand(program, 'deploy [directory]', 'Upload a directory, build it on the server and make it live')
    .option('-a, --app <name>', 'Name of the app (default: the name in package.json)')
    .option('--no-cache', 'Install and build without packages and caches of earlier releases')
    .option('--release <number>', 'Build the commit of an earlier release again, as a new release')
    .option(
      '--watch',
      'Wait until Sluice has compared the release with the release before; fail if it was reverted',
    )
    .action(deploy);
  const description = 'Return to the release that was live before, or to another earlier release';
  appSubcommand(program, 'rollback <app> [release]', description).action(rollback);
}

type DeployOptions = AppOptions & { app?: string; release?: string; cache: boolean; watch?: true };

async function deploy(directory: string | undefined, options: DeployOptions): Promise<void> {
  const { app, release, environment, json, cache, watch } = options;
  const query = cache ? {} : { noCache: 'true' };
  const view = createView(json, !watch);
  if (release !== undefined) {
    if (directory !== undefined)
      throw new UsageError('--release builds a commit that is on the server: do not name a directory');
    const id = parseEnvironment(app ?? (await appNameIn(process.cwd())), environment);
    const path = `/releases/${wholeNumber(release, '--release')}/redeploy`;
    const live = await followDeploy(id, view, 'deploy', path, { query });
    return watch && watchRelease(id, live, json);
  }
  const root = await appDirectory(directory);
  const id = parseEnvironment(app ?? (await appNameIn(root)), environment);
  // Fails before the directory is read if no server is configured.
  await connect();
  const [{ packDirectory }, { commitOf }, { checkMember }] = await Promise.all([
    import('../upload/pack.ts'),
    import('../upload/checkout.ts'),
    import('../upload/workspace-member.ts'),
  ]);
  await checkMember(root, view.note);
  const [{ files, stream }, commit] = await Promise.all([
    packDirectory(root, view.note),
    commitOf(root).catch(({ message }: Error) => {
      view.note(`note: the release has no commit, since the repository cannot be read: ${message}`);
      return undefined;
    }),
  ]);
  if (!json) print(`${environmentName(id)} from ${root}, ${counted(files, 'file')}`);
  const sent = { query: { ...commit, ...query }, body: stream };
  const live = await followDeploy(id, view, 'deploy', '/releases', sent);
  if (watch) await watchRelease(id, live, json);
}

/** Waits until a release is no longer compared with the one before. @throws AppError `reverted` */
async function watchRelease(id: EnvironmentId, { number }: Release, json?: true): Promise<void> {
  if (!json)
    print(`   waiting for the comparison of release ${number} with the release before ("watchTime")`);
  const release = await call<Release>('GET', appPath(id, `/releases/${number}/watched`));
  if (release.reverted !== undefined)
    throw new AppError('reverted', `release ${number} was reverted: ${release.reverted.reason}`, {
      hint: `The release before is live again. Read the output of release ${number}: \`sluice logs ${environmentName(id)} --release ${number}\``,
    });
  if (json) printJson(release);
  else print(`release ${number} was not reverted`);
}

async function rollback(
  id: EnvironmentId,
  number: string | undefined,
  options: CommonOptions,
): Promise<void> {
  const json = number === undefined ? {} : { release: wholeNumber(number, 'release') };
  await followDeploy(id, createView(options.json), 'rollback', '/rollback', { json });
}
