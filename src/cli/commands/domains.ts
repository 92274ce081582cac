import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import type { AddedDomain, DomainView, NewDomain } from '../../edge/domain.ts';
import { AppError } from '../../errors/app-error.ts';
import type { ApiClient } from '../client.ts';
import { type AppOptions, type CommonOptions, connect, subcommand } from '../command.ts';
import { certificateText, domainsTable, leadsTo } from '../domain-view.ts';
import { UsageError } from '../failure.ts';
import { formatTime, noteText, print, printJson, remark } from '../output.ts';
import { parseTarget } from '../target.ts';

interface AddOptions extends AppOptions {
  api?: true;
  selfSigned?: true;
  certificate?: string;
  key?: string;
  wait: boolean;
}

export function registerDomainCommands(program: Command): void {
  const domains = program.command('domains').description('host names that lead to apps, over https');
  subcommand(domains, 'add [app] [name]', 'let a host name lead to an app, or with --api to Sluice itself')
    .option('-e, --environment <name>', 'environment of the app; `APP@NAME` says the same')
    .option('--api', 'to the API, and git over https')
    .option('--self-signed', 'with a certificate that no browser knows, for trials')
    .option('--certificate <file>', 'with one of your own: the chain, in PEM')
    .option('--key <file>', 'its private key, in PEM')
    .option('--no-wait', 'do not wait for the certificate')
    .action(add);
  subcommand(domains, 'list', 'the domains there are').action(list);
  subcommand(domains, 'remove <name>', 'let a host name lead nowhere').action(remove);
}

async function add(first: string | undefined, second: string | undefined, options: AddOptions) {
  const { name, target } = whatFor(first, second, options);
  const json = {
    ...{ name, ...(target ?? { app: null }) },
    certificate: await certificateFrom(options),
  };
  const api = await connect();
  // A server of an earlier version sends no notices.
  const { notices = [], ...added } = await api.call<AddedDomain>('POST', '/v1/domains', { json });
  if (!options.json) {
    print(`${added.url} leads to ${leadsTo(added)}`);
    for (const notice of notices) print(noteText(notice));
  }
  const domain = options.wait ? await untilSettled(api, added, !options.json) : added;
  if (options.json) printJson({ ...domain, notices });
  else print(`certificate: ${certificateText(domain)}`);
  const { state, error, nextTry } = domain.certificate;
  if (!options.wait || state === 'valid') return;
  if (options.json) process.exitCode = 1;
  else throw notYet(error, nextTry);
}

function whatFor(first: string | undefined, second: string | undefined, { api, environment }: AddOptions) {
  const [app, name] = api ? [undefined, first] : [first, second];
  if (name === undefined || (api && second !== undefined)) {
    throw new UsageError(
      api ? 'which host name, and no app?' : 'which app, and which host name?',
      'Such as: sluice domains add shop shop.example.com, or: sluice domains add --api deploy.example.com',
    );
  }
  return { name, target: app === undefined ? null : parseTarget(app, environment) };
}

async function certificateFrom({
  selfSigned,
  certificate,
  key,
}: AddOptions): Promise<NewDomain['certificate']> {
  if (certificate === undefined && key === undefined) return selfSigned ? 'self-signed' : 'acme';
  if (certificate === undefined || key === undefined || selfSigned) {
    throw new UsageError('--certificate and --key go together, and without --self-signed');
  }
  const read = (file: string) =>
    readFile(file, 'utf8').catch((error: Error) => {
      throw new UsageError(`${file} cannot be read: ${error.message}`);
    });
  return { certificate: await read(certificate), key: await read(key) };
}

/** How long an order may take, in ms: an authority that is busy takes a minute, our own look and its queue included. */
const patience = 180_000;

/** Tells what is being done, until there is a certificate, or the order has failed. */
async function untilSettled(api: ApiClient, added: DomainView, tells: boolean): Promise<DomainView> {
  let told = '';
  for (const end = Date.now() + patience; ; await sleep(500)) {
    const domain = await api.call<DomainView>('GET', `/v1/domains/${added.name}`);
    const { state, progress, error } = domain.certificate;
    const isDone = progress === null && (state === 'valid' || state === 'expired' || error !== null);
    if (isDone || Date.now() > end) return domain;
    if (tells && progress !== null && progress !== told) {
      remark(`  ${progress}`);
      told = progress;
    }
  }
}

function notYet(error: DomainView['certificate']['error'], nextTry: string | null): Error {
  const when = nextTry === null ? '' : ` The next try is at ${formatTime(nextTry)}.`;
  if (error === null) {
    return new AppError('order_failed', 'there is no certificate yet', {
      hint: 'It is being ordered; `sluice domains list` shows how it goes.',
    });
  }
  return new AppError(error.code, error.message, { hint: `${error.hint}${when}`.trim() });
}

async function list(options: CommonOptions): Promise<void> {
  const domains = await (await connect()).call<DomainView[]>('GET', '/v1/domains');
  if (options.json) printJson(domains);
  else if (domains.length === 0) print('No domains yet. sluice domains add APP NAME adds one.');
  else print(domainsTable(domains));
}

async function remove(name: string, options: CommonOptions): Promise<void> {
  await (await connect()).call('DELETE', `/v1/domains/${encodeURIComponent(name)}`);
  if (options.json) printJson({ name, removed: true });
  else print(`${name} leads nowhere any more`);
}
