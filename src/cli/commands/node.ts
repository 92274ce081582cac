import type { Command } from 'commander';
import type { UpdatedNode } from '../../api/routes/apps.ts';
import type { AppStatus } from '../../apps/status.ts';
import { type EnvironmentId, environmentName } from '../../config/paths.ts';
import type { InstalledNode, NodeUse } from '../../deploy/node-overview.ts';
import { type ErrorBody, errorBody } from '../../errors/app-error.ts';
import { formatBytes } from '../../system/text/format.ts';
import { appPath, appSubcommand, type CommonOptions, call, listing, subcommand } from '../command.ts';
import { paint, print, printError, printJson, table } from '../output.ts';

export function registerNodeCommands(program: Command): void {
  const node = program.command('node').description('Manage the versions of Node.js that apps run on');
  subcommand(node, 'list', 'List installed versions, and the releases that each is kept for').action(
    listing('/v1/node', describeNodes),
  );
  const update =
    'Move all apps, or one, to the newest version of the same major of Node.js, without losing a request';
  appSubcommand(node, 'update [app]', update).action(updateNodes);
}

function describeNodes(nodes: InstalledNode[]): string {
  const rows = nodes.map(({ version, own, newest, sizeBytes, uses }) => [
    own ? `${version} (Sluice)` : version,
    newest === version ? paint('green', newest) : paint('yellow', newest),
    formatBytes(sizeBytes),
    describeUses(uses) || null,
  ]);
  const isOld = nodes.some(
    ({ version, newest, uses }) => newest !== version && uses.some(({ live }) => live),
  );
  const hint = '\n\nMove apps that allow it to the newest version: sluice node update';
  return `${table('VERSION NEWEST SIZE RELEASES', rows)}${isOld ? hint : ''}`;
}

/** Returns text such as `shop 7 (live), 6; blog 3`. */
function describeUses(uses: NodeUse[]): string {
  const byApp = Map.groupBy(uses, environmentName);
  const releases = (of: NodeUse[]) =>
    of.map(({ release, live }) => (live ? `${release} (live)` : String(release))).join(', ');
  return [...byApp].map(([name, of]) => `${name} ${releases(of)}`).join('; ');
}

type Result = UpdatedNode | (EnvironmentId & { error: ErrorBody });

/** Updates one app after the other. A failure does not stop the update of the others. */
async function updateNodes(only: EnvironmentId | undefined, options: CommonOptions): Promise<void> {
  const apps = only === undefined ? await deployedApps() : [only];
  const results: Result[] = [];
  for (const id of apps) {
    const result = await update(id);
    results.push(result);
    if (!options.json) report(result);
  }
  if (options.json) printJson(results);
  else if (results.length === 0) print('No app has a live release.');
  if (results.some((result) => 'error' in result)) process.exitCode = 1;
}

async function deployedApps(): Promise<EnvironmentId[]> {
  const apps = await call<AppStatus[]>('GET', '/v1/apps');
  return apps.flatMap(({ name: app, environment, release }) =>
    release === null ? [] : { app, environment },
  );
}

async function update({ app, environment }: EnvironmentId): Promise<Result> {
  try {
    return await call<UpdatedNode>('POST', appPath({ app, environment }, '/node'));
  } catch (error) {
    return { app, environment, error: errorBody(error) };
  }
}

function report(result: Result): void {
  const name = environmentName(result);
  if ('error' in result) {
    const { message, hint } = result.error;
    const text = paint('red', `${name} was not updated: ${message}`, process.stderr);
    printError(hint === '' ? text : `${text}\n  ${hint}`);
  } else print(texts[result.outcome](name, result));
}

const texts: Record<UpdatedNode['outcome'], (name: string, update: UpdatedNode) => string> = {
  switched: (name, { from, to }) =>
    `${name} runs on Node.js ${to}${from === null ? '' : ` instead of ${from}`}`,
  pending: (name, { to }) => `${name} gets Node.js ${to} at its next start`,
  unchanged: (name, { to }) => `${name} keeps Node.js ${to}`,
};
