import { type Command, Option } from 'commander';
import type { Scope, Token } from '../../api/auth/tokens.ts';
import { type CommonOptions, call, removal, show, subcommand } from '../command.ts';
import { formatTime, print, printJson, printRemark, table } from '../output.ts';

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
  subcommand(token, 'list', 'List tokens').action((options: CommonOptions) =>
    show(options, call<Token[]>('GET', '/v1/tokens'), listTokens),
  );
  subcommand(token, 'revoke <name>', 'Revoke a token').action(removal('/v1/tokens', 'revoked', 'is revoked'));
}

async function create(name: string, options: CommonOptions & { scope: Scope; app?: string }): Promise<void> {
  const json = { name, scopes: [options.scope], app: options.app ?? null };
  const made = await call<Token & { token: string }>('POST', '/v1/tokens', { json });
  if (options.json) return printJson(made);
  // The token alone goes to standard output: TOKEN=$(sluice token create ci)
  print(made.token);
  const reach = made.app === null ? 'all apps' : `the app ${made.app}`;
  printRemark(`${name}: ${options.scope} on ${reach}. Store it safely: it is not shown again.`);
}

function listTokens(tokens: Token[]): string {
  const rows = tokens.map(({ name, scopes, app, createdAt }) => {
    return [name, scopes.join(', '), app ?? 'all', formatTime(createdAt)];
  });
  return table('NAME SCOPE APP CREATED', rows, 'No tokens yet. Create one: sluice token create NAME');
}
