import { type Command, Option } from 'commander';
import type { Scope, Token } from '../../api/auth/tokens.ts';
import { type CommonOptions, connect, subcommand } from '../command.ts';
import { formatTime, print, printJson, remark, table } from '../output.ts';

export function registerTokenCommands(program: Command): void {
  const token = program.command('token').description('tokens for the API');
  subcommand(token, 'create <name>', 'make a token and show it, this once')
    .addOption(
      new Option('--scope <scope>', 'what it may do; each includes the ones before it')
        .choices(['read', 'deploy', 'admin'])
        .default('deploy'),
    )
    .option('--app <app>', 'the only app it is good for')
    .action(create);
  subcommand(token, 'list', 'the tokens there are').action(list);
  subcommand(token, 'revoke <name>', 'make a token worthless').action(revoke);
}

async function create(name: string, options: CommonOptions & { scope: Scope; app?: string }): Promise<void> {
  const json = { name, scopes: [options.scope], app: options.app ?? null };
  const made = await (await connect()).call<Token & { token: string }>('POST', '/v1/tokens', { json });
  if (options.json) return printJson(made);
  // The token alone goes to standard output: TOKEN=$(sluice token create ci)
  print(made.token);
  const reach = made.app === null ? 'all apps' : `the app ${made.app}`;
  remark(`${name}: ${options.scope} on ${reach}. Keep it safe: it is not shown again.`);
}

async function list(options: CommonOptions): Promise<void> {
  const tokens = await (await connect()).call<Token[]>('GET', '/v1/tokens');
  if (options.json) return printJson(tokens);
  if (tokens.length === 0) return print('No tokens yet. sluice token create NAME makes one.');
  const rows = tokens.map((token) => [
    token.name,
    token.scopes.join(', '),
    token.app ?? 'all',
    formatTime(token.createdAt),
  ]);
  print(table([['NAME', 'SCOPE', 'APP', 'CREATED'], ...rows]));
}

async function revoke(name: string, options: CommonOptions): Promise<void> {
  await (await connect()).call('DELETE', `/v1/tokens/${encodeURIComponent(name)}`);
  if (options.json) printJson({ name, revoked: true });
  else print(`${name} is revoked`);
}
