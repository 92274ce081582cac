import type { Command } from 'commander';
import { environmentName } from '../../config/paths.ts';
import { counted } from '../../system/text/format.ts';
import { appDirectory, appNameIn } from '../app-directory.ts';
import type { CheckoutCommit } from '../checkout.ts';
import { type AppOptions, appSubcommand, connect } from '../command.ts';
import { createView, type DeployView, silentView } from '../deploy-view.ts';
import { UsageError } from '../failure.ts';
import { followDeploy } from '../follow-deploy.ts';
import { wholeNumber } from '../numbers.ts';
import { print, printJson } from '../output.ts';
import { appPath, parseTarget } from '../target.ts';

const accept = 'application/x-ndjson';

export function registerDeployCommands(program: Command): void {
  appSubcommand(program, 'deploy [directory]', 'upload a directory, build it on the server and put it live')
    .option('-a, --app <name>', "the app; without it, the name in the directory's package.json")
    .option('--release <number>', 'build the commit of that release anew instead, as a new release')
    .action(deploy);
  appSubcommand(
    program,
    'rollback <app> [release]',
    'back to the release that was live before, or to the one named',
  ).action(rollback);
}

type DeployOptions = AppOptions & { app?: string; release?: string };

async function deploy(directory: string | undefined, options: DeployOptions): Promise<void> {
  if (options.release !== undefined) return redeploy(directory, options.release, options);
  const root = await appDirectory(directory);
  const target = parseTarget(options.app ?? (await appNameIn(root)), options.environment);
  const view = options.json ? silentView : createView();
  const [client, { packDirectory }] = await Promise.all([connect(), import('../pack.ts')]);
  const [{ files, stream }, commit] = await Promise.all([
    packDirectory(
      root,
      (sent) => view.uploading(sent),
      (text) => view.note(text),
    ),
    readCommit(root, view),
  ]);
  if (!options.json) print(`${environmentName(target)} from ${root}, ${counted(files, 'file')}`);
  const release = await followDeploy(client, target, view, 'deploy', (signal) =>
    client.open('POST', appPath(target, '/releases'), {
      query: { environment: target.environment, ...commit },
      body: stream,
      accept,
      signal,
    }),
  );
  if (options.json) printJson(release);
}

/** A deploy does not fail for a repository that cannot be read: its release only says less. */
async function readCommit(root: string, view: DeployView): Promise<CheckoutCommit | undefined> {
  const { commitOf } = await import('../checkout.ts');
  try {
    return await commitOf(root);
  } catch (error) {
    view.note(
      `note: the commit is not told, since the repository cannot be read: ${(error as Error).message}`,
    );
    return undefined;
  }
}

async function redeploy(
  directory: string | undefined,
  number: string,
  options: DeployOptions,
): Promise<void> {
  if (directory !== undefined)
    throw new UsageError('--release builds what is on the server: name no directory');
  const target = parseTarget(options.app ?? (await appNameIn(process.cwd())), options.environment);
  const path = appPath(target, `/releases/${wholeNumber(number, '--release')}/redeploy`);
  const view = options.json ? silentView : createView();
  const client = await connect();
  const query = { environment: target.environment };
  const release = await followDeploy(client, target, view, 'deploy', (signal) =>
    client.open('POST', path, { query, accept, signal }),
  );
  if (options.json) printJson(release);
}

async function rollback(name: string, number: string | undefined, options: AppOptions): Promise<void> {
  const target = parseTarget(name, options.environment);
  const json = number === undefined ? {} : { release: wholeNumber(number, 'the release') };
  const view = options.json ? silentView : createView();
  const client = await connect();
  const query = { environment: target.environment };
  const release = await followDeploy(client, target, view, 'rollback', (signal) =>
    client.open('POST', appPath(target, '/rollback'), { query, json, accept, signal }),
  );
  if (options.json) printJson(release);
}
