import { readFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import type { Command } from 'commander';
import type { Key } from '../../api/keys.ts';
import type { AddedKey } from '../../api/routes/keys.ts';
import { type CommonOptions, connect, subcommand } from '../command.ts';
import { UsageError } from '../failure.ts';
import { formatTime, print, printJson, remark, table } from '../output.ts';

export function registerKeyCommands(program: Command): void {
  const keys = program.command('keys').description('public keys that may push over ssh');
  subcommand(keys, 'add <name> [file]', 'let a public key push: a .pub file, or standard input')
    .option('--app <app>', 'the only app it may push to')
    .action(add);
  subcommand(keys, 'list', 'the keys there are').action(list);
  subcommand(keys, 'remove <name>', 'let a key push no more').action(remove);
}

async function add(name: string, file: string | undefined, options: CommonOptions & { app?: string }) {
  const json = { name, key: await readKey(file), app: options.app ?? null };
  const added = await (await connect()).call<AddedKey>('POST', '/v1/keys', { json });
  if (options.json) return printJson(added);
  const reach = added.app === null ? 'all apps' : `the app ${added.app}`;
  print(`${added.name} may push to ${reach}: ${added.fingerprint}`);
  const url = `ssh://${added.user}@HOST/${added.app ?? 'APP'}`;
  remark(
    `Its line is in ${added.file}, which sshd must read.\nOn the machine that has the key: git remote add deploy ${url} && git push deploy main`,
  );
}

async function readKey(file: string | undefined): Promise<string> {
  if (file !== undefined && file !== '-') {
    return readFile(file, 'utf8').catch((error: Error) => {
      throw new UsageError(`the key cannot be read: ${error.message}`);
    });
  }
  if (process.stdin.isTTY) {
    throw new UsageError(
      'which key?',
      'Name a file, such as ~/.ssh/id_ed25519.pub, or send it to standard input.',
    );
  }
  return text(process.stdin);
}

async function list(options: CommonOptions): Promise<void> {
  const keys = await (await connect()).call<Key[]>('GET', '/v1/keys');
  if (options.json) return printJson(keys);
  if (keys.length === 0) return print('No keys yet. sluice keys add NAME FILE adds one.');
  const rows = keys.map((key) => [key.name, key.app ?? 'all', key.fingerprint, formatTime(key.createdAt)]);
  print(table([['NAME', 'APP', 'FINGERPRINT', 'CREATED'], ...rows]));
}

async function remove(name: string, options: CommonOptions): Promise<void> {
  await (await connect()).call('DELETE', `/v1/keys/${encodeURIComponent(name)}`);
  if (options.json) printJson({ name, removed: true });
  else print(`${name} may push no more`);
}
