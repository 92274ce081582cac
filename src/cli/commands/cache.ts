import type { Command } from 'commander';
import type { AppStatus } from '../../apps/status.ts';
import { type EnvironmentId, environmentName } from '../../config/paths.ts';
import type { KeptThing } from '../../deploy/kept.ts';
import { formatBytes } from '../../system/text/format.ts';
import { type AppOptions, appPath, call, parseEnvironment, subcommand } from '../command.ts';
import { print, printJson, table } from '../output.ts';

export function registerCacheCommands(program: Command): void {
  const cache = program
    .command('cache')
    .description('Manage the packages and caches of builds that apps keep for their next deploy');
  ofApps(cache, 'list', 'List packages and caches with their sizes').action(list);
  ofApps(
    cache,
    'clear',
    'Remove packages and caches: the next deploy installs and builds without them',
  ).action(clear);
}

function ofApps(parent: Command, usage: string, description: string): Command {
  return subcommand(parent, usage, description)
    .option('-a, --app <name>', 'Only this app: shop, or shop@staging (default: all apps)')
    .option('-e, --environment <name>', 'Environment of the app (default: production)');
}

type CacheOptions = AppOptions & { app?: string };

async function list(options: CacheOptions): Promise<void> {
  const kept = await ofEach('GET', options);
  if (options.json) return printJson(kept);
  if (kept.length === 0) return print('No app keeps packages or caches.');
  print(describe(kept));
}

async function clear(options: CacheOptions): Promise<void> {
  const removed = await ofEach('DELETE', options);
  if (options.json) return printJson(removed);
  const total = removed.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  print(removed.length === 0 ? 'Nothing to remove.' : `${describe(removed)}\nremoved: ${formatBytes(total)}`);
}

async function ofEach(
  method: 'GET' | 'DELETE',
  { app: only, environment }: CacheOptions,
): Promise<KeptThing[]> {
  const ids: EnvironmentId[] =
    only === undefined
      ? (await call<AppStatus[]>('GET', '/v1/apps')).map(({ name: app, environment }) => ({
          app,
          environment,
        }))
      : [parseEnvironment(only, environment)];
  const all: KeptThing[] = [];
  for (const id of ids) all.push(...(await call<KeptThing[]>(method, appPath(id, '/cache'))));
  return all;
}

function describe(kept: KeptThing[]): string {
  const rows = kept.map(({ kind, directory, release, sizeBytes, ...id }) => [
    ...[environmentName(id), directory === '' ? kind : `${kind} of ${directory}`],
    ...[String(release), formatBytes(sizeBytes)],
  ]);
  return table('APP KEEPS RELEASE SIZE', rows);
}
