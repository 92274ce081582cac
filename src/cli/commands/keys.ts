import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import type { Command } from 'commander';
import type { Key } from '../../api/auth/keys.ts';
import type { AddedKey } from '../../api/routes/access.ts';
import { toUrlHost } from '../../system/net/address.ts';
import { type CommonOptions, call, removal, show, subcommand } from '../command.ts';
import { UsageError } from '../failure.ts';
import { formatTime, print, printJson, printRemark, table } from '../output.ts';
import { reachedAddress, type SshAddress } from '../reached-address.ts';

export function registerKeyCommands(program: Command): void {
  const keys = program.command('keys').description('Manage the public keys that can push over ssh');
  subcommand(keys, 'add <name> [key]', 'Add a public key: a .pub file, its content, or standard input')
    .option('--app <app>', 'Limit the key to one app')
    .action(add);
  subcommand(keys, 'list', 'List keys').action((options: CommonOptions) =>
    show(options, call<Key[]>('GET', '/v1/keys'), listKeys),
  );
  subcommand(keys, 'remove <name>', 'Remove a key').action(
    removal('/v1/keys', 'removed', 'can no longer push'),
  );
}

async function add(name: string, key: string | undefined, options: CommonOptions & { app?: string }) {
  const json = { name, key: await readKey(key), app: options.app ?? null };
  const added = await call<AddedKey>('POST', '/v1/keys', { json });
  if (options.json) return printJson(added);
  const reach = added.app === null ? 'all apps' : `the app ${added.app}`;
  print(`${added.name} can push to ${reach}: ${added.fingerprint}`);
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
  if (key !== undefined && key !== '-') {
    return readFile(key, 'utf8').catch((error: Error) => {
      throw new UsageError(`the key cannot be read: ${error.message}`);
    });
  }
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
