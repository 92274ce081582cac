import type { Command } from 'commander';
import { targetName } from '../../config/paths.ts';
import { appDirectory, appNameIn } from '../app-directory.ts';
import { type AppOptions, appSubcommand, connect } from '../command.ts';
import { createView, silentView } from '../deploy-view.ts';
import { followDeploy } from '../follow-deploy.ts';
import { wholeNumber } from '../numbers.ts';
import { print, printJson } from '../output.ts';
import { appPath, parseTarget } from '../target.ts';

const accept = 'application/x-ndjson';

export function registerDeployCommands(program: Command): void {
  appSubcommand(program, 'deploy [directory]', 'upload a directory, build it on the server and put it live')
    .option('-a, --app <name>', "the app; without it, the name in the directory's package.json")
    .action(deploy);
  appSubcommand(
    program,
    'rollback <app> [release]',
    'back to the release that was live before, or to the one named',
  ).action(rollback);
}

async function deploy(directory: string | undefined, options: AppOptions & { app?: string }): Promise<void> {
  const root = await appDirectory(directory);
  const target = parseTarget(options.app ?? (await appNameIn(root)), options.environment);
  const view = options.json ? silentView : createView();
  const [client, { packDirectory }] = await Promise.all([connect(), import('../pack.ts')]);
  const { files, stream } = await packDirectory(root, (sent) => view.uploading(sent));
  if (!options.json) print(`${targetName(target)} from ${root}, ${files} file${files === 1 ? '' : 's'}`);
  const release = await followDeploy(client, target, view, 'deploy', (signal) =>
    client.open('POST', appPath(target, '/releases'), {
      query: { environment: target.environment },
      body: stream,
      accept,
      signal,
    }),
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
