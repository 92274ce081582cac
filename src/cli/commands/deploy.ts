import type { Command } from 'commander';
import { type EnvironmentId, environmentName } from '../../config/paths.ts';
import { counted } from '../../system/text/format.ts';
import {
  type AppOptions,
  appSubcommand,
  type CommonOptions,
  connect,
  parseEnvironment,
  wholeNumber,
} from '../command.ts';
import { UsageError } from '../failure.ts';
import { createView, followDeploy } from '../follow-deploy.ts';
import { print } from '../output.ts';
import { appDirectory, appNameIn } from '../upload/app-directory.ts';

export function registerDeployCommands(program: Command): void {
  appSubcommand(program, 'deploy [directory]', 'Upload a directory, build it on the server and make it live')
    .option('-a, --app <name>', 'Name of the app (default: the name in package.json)')
    .option('--no-cache', 'Install and build without packages and caches of earlier releases')
    .option('--release <number>', 'Build the commit of an earlier release again, as a new release')
    .action(deploy);
  const description = 'Return to the release that was live before, or to another earlier release';
  appSubcommand(program, 'rollback <app> [release]', description).action(rollback);
}

type DeployOptions = AppOptions & { app?: string; release?: string; cache: boolean };

async function deploy(directory: string | undefined, options: DeployOptions): Promise<void> {
  const { app, release, environment, json, cache } = options;
  const query = cache ? {} : { noCache: 'true' };
  const view = createView(json);
  if (release !== undefined) {
    if (directory !== undefined)
      throw new UsageError('--release builds a commit that is on the server: do not name a directory');
    const id = parseEnvironment(app ?? (await appNameIn(process.cwd())), environment);
    return followDeploy(id, view, 'deploy', `/releases/${wholeNumber(release, '--release')}/redeploy`, {
      query,
    });
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
  await followDeploy(id, view, 'deploy', '/releases', { query: { ...commit, ...query }, body: stream });
}

async function rollback(
  id: EnvironmentId,
  number: string | undefined,
  options: CommonOptions,
): Promise<void> {
  const json = number === undefined ? {} : { release: wholeNumber(number, 'release') };
  await followDeploy(id, createView(options.json), 'rollback', '/rollback', { json });
}
