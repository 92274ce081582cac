import type { Command } from 'commander';
import type { DestroyedApp } from '../../api/routes/apps.ts';
import type { ServerStatus } from '../../api/routes/server.ts';
import type { AppStatus } from '../../apps/status.ts';
import { environmentName } from '../../config/paths.ts';
import { describeApp, describeProblem, stateText, workersText } from '../app-view.ts';
import {
  type AppOptions,
  appSubcommand,
  type CommonOptions,
  callApp,
  connect,
  subcommand,
} from '../command.ts';
import { domainsTable } from '../domain-view.ts';
import { UsageError } from '../failure.ts';
import { formatTime, paint, print, printJson, table } from '../output.ts';
import { parseTarget } from '../target.ts';

export function registerAppCommands(program: Command): void {
  appSubcommand(
    program,
    'status [app]',
    'what runs: the server and its apps, or one app and its workers',
  ).action(status);
  subcommand(program, 'apps', 'the apps there are').action(apps);
  subcommand(program, 'destroy <app>', 'stop an app and remove it, in all its environments, for good')
    .option('--confirm <app>', 'the name again, where nobody is there to be asked for it')
    .action(destroy);
}

async function status(name: string | undefined, options: AppOptions): Promise<void> {
  if (name !== undefined) {
    const app = await callApp<AppStatus>('GET', parseTarget(name, options.environment), '');
    if (options.json) return printJson(app);
    return print(describeApp(app));
  }
  const all = await (await connect()).call<ServerStatus>('GET', '/v1/status');
  if (options.json) return printJson(all);
  const { server, runner } = all;
  const runnerText = runner === null ? paint('red', 'runner not reachable') : `runner ${runner.pid}`;
  print(
    `Sluice ${server.version}, up since ${formatTime(server.startedAt)} (server ${server.pid}, ${runnerText})`,
  );
  if (all.edge.fault !== null) print(paint('red', `nginx is not set up: ${all.edge.fault.message}`));
  print(`\n${listApps(all.apps)}`);
  if (all.domains.length > 0) print(`\n${domainsTable(all.domains)}`);
}

async function apps(options: CommonOptions): Promise<void> {
  const list = await (await connect()).call<AppStatus[]>('GET', '/v1/apps');
  if (options.json) printJson(list);
  else print(listApps(list));
}

async function destroy(app: string, options: CommonOptions & { confirm?: string }): Promise<void> {
  const target = parseTarget(app);
  const confirm = options.confirm ?? (await askForName(app));
  if (confirm !== app) throw new UsageError(`"${confirm}" is not ${app}: nothing was removed`);
  const path = `/v1/apps/${target.app}`;
  const gone = await (await connect()).call<DestroyedApp>('DELETE', path, { query: { confirm } });
  if (options.json) return printJson({ ...gone, destroyed: true });
  print(`${app} is gone`);
  if (gone.tokens.length > 0)
    print(`with its tokens, which are good for nothing else: ${gone.tokens.join(', ')}`);
  if (gone.keys.length > 0) print(`with the keys that could push to it alone: ${gone.keys.join(', ')}`);
}

async function askForName(app: string): Promise<string> {
  if (!process.stdin.isTTY) {
    throw new UsageError(`this removes ${app} for good`, `Say so with --confirm ${app}`);
  }
  const { createInterface } = await import('node:readline/promises');
  const questions = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return await questions.question(
      `This stops ${app} and removes its releases, variables, shared files, and the tokens and keys that are for it alone.\nType its name to go on: `,
    );
  } finally {
    questions.close();
  }
}

function listApps(apps: AppStatus[]): string {
  if (apps.length === 0) return 'No apps yet. In the directory of one: sluice deploy --app NAME';
  const problems = apps.flatMap((app) => {
    const problem = describeProblem(app);
    return problem === ''
      ? []
      : `${environmentName({ app: app.name, environment: app.environment })}: ${problem}`;
  });
  return [tableOfApps(apps), ...problems].join('\n\n');
}

function tableOfApps(apps: AppStatus[]): string {
  return table([
    ['APP', 'STATE', 'RELEASE', 'WORKERS', 'URL'],
    ...apps.map((app) => [
      environmentName({ app: app.name, environment: app.environment }),
      stateText(app),
      app.release === null ? '-' : String(app.release),
      workersText(app),
      app.url,
    ]),
  ]);
}
