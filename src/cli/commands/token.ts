import { type Command, Option } from 'commander';
import type { Scope, Token } from '../../api/auth/tokens.ts';
import { type CommonOptions, connect, subcommand } from '../command.ts';
import { formatTime, print, printJson, printOutcome, printRemark, table } from '../output.ts';

export function registerTokenCommands(program: Command): void {
  const token = program.command('token').description('Manage tokens for the API');
  subcommand(token, 'create <name>', 'Create a token and show it, only this once')
    .addOption(
      new Option('--scope <scope>', 'Rights of the token; each scope includes the ones before it')
        .choices(['read', 'deploy', 'admin'])
        .default('deploy'),
    )
    .option('--app <app>', 'Limit the token to one app')
    .action(create);
  subcommand(token, 'list', 'List tokens').action(list);
  subcommand(token, 'revoke <name>', 'Revoke a token').action(revoke);
}

async function create(name: string, options: CommonOptions & { scope: Scope; app?: string }): Promise<void> {
  const json = { name, scopes: [options.scope], app: options.app ?? null };
  const made = await (await connect()).call<Token & { token: string }>('POST', '/v1/tokens', { json });
  if (options.json) return printJson(made);
  // The token alone goes to standard output: TOKEN=$(sluice token create ci)
  print(made.token);
  const reach = made.app === null ? 'all apps' : `the app ${made.app}`;
  printRemark(`${name}: ${options.scope} on ${reach}. Store it safely: it is not shown again.`);
}

async function list(options: CommonOptions): Promise<void> {
  const tokens = await (await connect()).call<Token[]>('GET', '/v1/tokens');
  printOutcome(options, tokens, () => {
    if (tokens.length === 0) return 'No tokens yet. Create one: sluice token create NAME';
    const rows = tokens.map(({ name, scopes, app, createdAt }) => [
      name,
      scopes.join(', '),
      app ?? 'all',
      formatTime(createdAt),
    ]);
    return table([['NAME', 'SCOPE', 'APP', 'CREATED'], ...rows]);
  });
}

async function revoke(name: string, options: CommonOptions): Promise<void> {
  await (await connect()).call('DELETE', `/v1/tokens/${encodeURIComponent(name)}`);
  printOutcome(options, { name, revoked: true }, () => `${name} is revoked`);
}
