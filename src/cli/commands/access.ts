import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { type Command, Option } from 'commander';
import type { Key } from '../../api/auth/keys.ts';
import type { Token, TokenScope } from '../../api/auth/tokens.ts';
import type { AddedKey } from '../../api/routes/access.ts';
import { toUrlHost } from '../../system/net/address.ts';
import { type CommonOptions, call, listing, removal, subcommand } from '../command.ts';
import { argumentFrom, UsageError } from '../failure.ts';
import { formatTime, print, printJson, printRemark, table } from '../output.ts';
import { reachedAddress, type SshAddress } from '../reached-address.ts';

/** Registers the commands that manage tokens for the API, and public keys for pushes over ssh. */
export function registerAccessCommands(program: Command): void {
  const token = program.command('token').description('Manage tokens for the API');
  subcommand(token, 'create <name>', 'Create a token and show it, only this once')
    .addOption(
      new Option(
        '--scope <scopes>',
        'Scopes of the token, with commas between them: read, deploy (includes read), admin (includes deploy), run (one-off commands)',
      )
        .argParser(parseScopes)
        .default(['deploy'], 'deploy'),
    )
    .option('--app <app>', 'Limit the token to one app')
    .action(createToken);
  subcommand(token, 'list', 'List tokens').action(listing('/v1/tokens', listTokens));
  subcommand(token, 'revoke <name>', 'Revoke a token').action(removal('/v1/tokens', 'revoked', 'is revoked'));

  const keys = program.command('keys').description('Manage the public keys that can push over ssh');
  subcommand(keys, 'add <name> [key]', 'Add a public key: a .pub file, its content, or standard input')
    .option('--app <app>', 'Limit the key to one app')
    .action(addKey);
  subcommand(keys, 'list', 'List keys').action(listing('/v1/keys', listKeys));
  subcommand(keys, 'remove <name>', 'Remove a key').action(
    removal('/v1/keys', 'removed', 'can no longer push'),
  );
}

async function createToken(
  name: string,
  options: CommonOptions & { scope: TokenScope[]; app?: string },
): Promise<void> {
  const json = { name, scopes: options.scope, app: options.app ?? null };
  const made = await call<Token & { token: string }>('POST', '/v1/tokens', { json });
  if (options.json) return printJson(made);
  // The token alone goes to standard output: TOKEN=$(sluice token create ci)
  print(made.token);
  printRemark(
    `${name}: ${options.scope.join(', ')} on ${reachOf(made)}. Store it safely: it is not shown again.`,
  );
}

const scopes: readonly TokenScope[] = ['read', 'deploy', 'admin', 'run'];

/** Parses scopes with commas between them. @throws UsageError */
function parseScopes(text: string): TokenScope[] {
  const named = text.split(',');
  const unknown = named.find((each) => !(scopes as readonly string[]).includes(each));
  if (unknown === undefined) return named as TokenScope[];
  throw new UsageError(`invalid --scope: "${unknown}" (expected ${scopes.join(', ')})`);
}

function listTokens(tokens: Token[]): string {
  const rows = tokens.map(({ name, scopes, app, createdAt }) => {
    return [name, scopes.join(', '), app ?? 'all', formatTime(createdAt)];
  });
  return table('NAME SCOPE APP CREATED', rows, 'No tokens yet. Create one: sluice token create NAME');
}

function reachOf({ app }: Token | Key): string {
  return app === null ? 'all apps' : `the app ${app}`;
}

async function addKey(name: string, key: string | undefined, options: CommonOptions & { app?: string }) {
  const json = { name, key: await readKey(key), app: options.app ?? null };
  const added = await call<AddedKey>('POST', '/v1/keys', { json });
  if (options.json) return printJson(added);
  print(`${added.name} can push to ${reachOf(added)}: ${added.fingerprint}`);
  const address = await reachedAddress();
  printRemark(`The key is in ${added.file}, which sshd must read.
On the machine that has the key: git remote add deploy ${pushUrl(added, address)} && git push deploy main`);
  if (address !== undefined)
    printRemark(`If you reach this server by a name, use the name instead of ${address.host}.`);
}

function pushUrl({ user, app }: AddedKey, address: SshAddress = { host: 'HOST', port: 22 }): string {
  const port = address.port === 22 ? '' : `:${address.port}`;
  return `ssh://${user}@${toUrlHost(address.host)}${port}/${app ?? 'APP'}`;
}

/** @param key a file, `-` for standard input, or the line of a key itself */
async function readKey(key: string | undefined): Promise<string> {
  if (key !== undefined && /^\S+ +\S/.test(key) && !existsSync(key)) return key;
  if (key === '') throw new UsageError('the key is empty', makeKey);
  if (key !== undefined && key !== '-') return argumentFrom(readFile(key, 'utf8'), 'the key');
  if (process.stdin.isTTY) {
    const example = 'Name a file, such as ~/.ssh/id_ed25519.pub, or send the key to standard input.';
    throw new UsageError('no key given', example);
  }
  const sent = await text(process.stdin);
  if (sent.trim() === '') throw new UsageError('standard input has no key', makeKey);
  return sent;
}

const makeKey =
  'On the machine that pushes, `ls ~/.ssh/*.pub` lists the keys; `ssh-keygen -t ed25519` makes a new key.';

function listKeys(keys: Key[]): string {
  const rows = keys.map((key) => [key.name, key.app ?? 'all', key.fingerprint, formatTime(key.createdAt)]);
  return table('NAME APP FINGERPRINT CREATED', rows, 'No keys yet. Add one: sluice keys add NAME FILE');
}
