import type { Command } from 'commander';
import type { DestroyedApp } from '../../api/routes/apps.ts';
import type { ServerStatus } from '../../api/routes/server.ts';
import type { AppStatus } from '../../apps/status.ts';
import type { CallOptions } from '../../client/api-client.ts';
import type { EnvironmentId } from '../../config/paths.ts';
import {
  type AppOptions,
  appPath,
  appSubcommand,
  type CommonOptions,
  call,
  isWholeNumber,
  listing,
  parseEnvironment,
  show,
  subcommand,
} from '../command.ts';
import { UsageError } from '../failure.ts';
import { formatTime, paint } from '../output.ts';
import { describeApp, domainsTable, listApps, listUsage } from '../status-view.ts';

export function registerAppCommands(program: Command): void {
  const status = 'Show the server and its apps, or one app and its workers';
  appSubcommand(program, 'status [app]', status).action(showStatus);
  subcommand(program, 'apps', 'List apps, with the figures of their processes').action(
    listing<AppStatus[]>('/v1/apps', (apps) => listUsage(apps)),
  );
  const removal =
    'Remove an app with all its environments (`shop`), or one environment (`shop@staging`), for good';
  subcommand(program, 'destroy <app>', removal)
    .option('-e, --environment <name>', 'Remove only this environment; same as `APP@NAME`')
    .option('--confirm <app>', 'Repeat the name, if there is no terminal for the question')
    .action(destroy);
  const scale = 'Set the number of workers, or `default`: the number that the release sets';
  appSubcommand(program, 'scale <app> <workers>', scale).action(
    (id: EnvironmentId, workers: string, options: CommonOptions) =>
      act(id, '/scale', options, { workers: parseWorkers(workers) }),
  );
  appSubcommand(
    program,
    'restart <app>',
    'Replace the workers and background processes of an app with new ones of the same release',
  )
    .option(
      '--worker <process>',
      'Restart only this background process: `mail.1`, or `mail` for all its instances',
    )
    .action((id: EnvironmentId, options: CommonOptions & { worker?: string }) =>
      act(id, '/restart', options, undefined, { worker: options.worker }),
    );
  for (const [verb, description] of Object.entries(verbs)) {
    appSubcommand(program, `${verb} <app>`, description).action((id: EnvironmentId, options: CommonOptions) =>
      act(id, `/${verb}`, options),
    );
  }
}

const verbs = {
  stop: 'Stop an app, after its open requests',
  start: 'Start an app that was stopped',
} as const;

function showStatus(id: EnvironmentId | undefined, options: CommonOptions): Promise<void> {
  return id === undefined
    ? show(options, call<ServerStatus>('GET', '/v1/status'), describeServer)
    : show(options, call<AppStatus>('GET', appPath(id)), describeApp);
}

function describeServer({ server, runner, edge, apps, domains }: ServerStatus): string {
  const runnerText = runner === null ? paint('red', 'runner not reachable') : `runner ${runner.pid}`;
  const processes = `(server ${server.pid}, ${runnerText})`;
  return [
    `Sluice ${server.version}, up since ${formatTime(server.startedAt)} ${processes}`,
    ...(edge.fault === null ? [] : [paint('red', `nginx is not set up: ${edge.fault.message}`)]),
    `\n${listApps(apps)}`,
    ...(domains.length === 0 ? [] : [`\n${domainsTable(domains)}`]),
  ].join('\n');
}

async function destroy(written: string, options: AppOptions & { confirm?: string }): Promise<void> {
  const { app, environment } = parseEnvironment(written, options.environment);
  const isWhole = written === app && options.environment === undefined;
  const name = isWhole ? app : `${app}@${environment}`;
  const confirm = options.confirm ?? (await askForName(name, isWhole));
  if (confirm !== name) {
    throw new UsageError(`the confirmation does not match: expected "${name}"; nothing was removed`);
  }
  const query = { confirm, ...(!isWhole && { environment }) };
  const removed = await call<DestroyedApp>('DELETE', `/v1/apps/${app}`, { query });
  await show(options, { ...removed, destroyed: true }, () =>
    [
      `${name} is removed`,
      ...(removed.tokens.length > 0 ? [`Revoked tokens of the app: ${removed.tokens.join(', ')}`] : []),
      ...(removed.keys.length > 0 ? [`Removed keys of the app: ${removed.keys.join(', ')}`] : []),
    ].join('\n'),
  );
}

async function askForName(name: string, isWhole: boolean): Promise<string> {
  if (!process.stdin.isTTY) {
    const what = isWhole ? `${name} with all its environments` : name;
    throw new UsageError(`this removes ${what} for good`, `Confirm with --confirm ${name}`);
  }
  const { createInterface } = await import('node:readline/promises');
  using questions = createInterface({ input: process.stdin, output: process.stderr });
  return await questions.question(
    `This stops ${name} and removes ${isWhole ? 'all its environments with their' : 'its'} releases, variables, domains and shared files${isWhole ? ', and the tokens and keys of this app' : '. If the app has no other environment, its tokens and keys are removed too'}.\nType ${name} to continue: `,
  );
}

/** @returns null for `default`. The other words of the setting `workers` are for releases only. */
function parseWorkers(text: string): number | null {
  if (text === 'default') return null;
  if (isWholeNumber(text, 1, 64)) return Number(text);
  throw new UsageError(
    `invalid worker count: "${text}" (expected 1 to 64, or "default")`,
    '"default" is the number that the release sets: "workers" in its sluice.json, which may be "auto" or "max", too.',
  );
}

function act(
  id: EnvironmentId,
  path: string,
  options: CommonOptions,
  json?: unknown,
  query: CallOptions['query'] = {},
): Promise<void> {
  return show(options, call<AppStatus>('POST', appPath(id, path), { json, query }), describeOutcome);
}

/** Describes an app without the workers that a change has replaced: they only finish their requests. */
function describeOutcome(app: AppStatus): string {
  const workers = app.workers.filter(({ state }) => !['retired', 'drained', 'exited'].includes(state));
  return describeApp({ ...app, workers });
}
