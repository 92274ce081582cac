import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import type { AddedDomain, DomainView, NewDomain } from '../../edge/domain.ts';
import { AppError } from '../../errors/app-error.ts';
import { type AppOptions, call, listing, parseEnvironment, removal, subcommand } from '../command.ts';
import { argumentFrom, UsageError } from '../failure.ts';
import { formatTime, noteText, print, printJson, printRemark } from '../output.ts';
import { certificateText, destination, domainsTable } from '../status-view.ts';

interface AddOptions extends AppOptions {
  api?: true;
  selfSigned?: true;
  certificate?: string;
  key?: string;
  wait: boolean;
}

export function registerDomainCommands(program: Command): void {
  const domains = program.command('domains').description('Manage domains: host names with https');
  subcommand(domains, 'add [app] [name]', 'Route a host name to an app, or with --api to Sluice itself')
    .option('-e, --environment <name>', 'Environment of the app; same as `APP@NAME`')
    .option('--api', 'Route to the API, and to git over https')
    .option('--self-signed', 'Use a certificate that no browser accepts, for trials')
    .option('--certificate <file>', 'Use your own certificate: the chain, in PEM')
    .option('--key <file>', 'Private key of your own certificate, in PEM')
    .option('--no-wait', 'Do not wait for the certificate')
    .action(add);
  const none = 'No domains yet. Add one: sluice domains add APP NAME';
  subcommand(domains, 'list', 'List domains').action(
    listing('/v1/domains', (found: DomainView[]) => domainsTable(found, none)),
  );
  subcommand(domains, 'remove <name>', 'Remove a domain').action(
    removal('/v1/domains', 'removed', 'is removed'),
  );
}

async function add(first: string | undefined, second: string | undefined, options: AddOptions) {
  const [app, name] = options.api ? [undefined, first] : [first, second];
  if (name === undefined || (options.api && second !== undefined)) {
    throw new UsageError(
      options.api ? 'expected a host name, and no app' : 'expected an app and a host name',
      'Examples: sluice domains add shop shop.example.com, or: sluice domains add --api deploy.example.com',
    );
  }
  const destinationOf = app === undefined ? { app: null } : parseEnvironment(app, options.environment);
  const json = { name, ...destinationOf, certificate: await readCertificate(options) };
  const { notices, ...added } = await call<AddedDomain>('POST', '/v1/domains', { json });
  if (!options.json) {
    print(`${added.url} routes to ${destination(added)}`);
    for (const notice of notices) print(noteText(notice));
  }
  const domain = options.wait ? await waitForCertificate(added, options) : added;
  if (options.json) printJson({ ...domain, notices });
  else print(`certificate: ${certificateText(domain)}`);
  const { state, error, nextTry } = domain.certificate;
  if (!options.wait || state === 'valid') return;
  if (options.json) process.exitCode = 1;
  else throw noCertificate(error, nextTry);
}

async function readCertificate(options: AddOptions): Promise<NewDomain['certificate']> {
  const { selfSigned, certificate, key } = options;
  if (certificate === undefined && key === undefined) return selfSigned ? 'self-signed' : 'acme';
  if (certificate === undefined || key === undefined || selfSigned)
    throw new UsageError('--certificate and --key need each other, and exclude --self-signed');
  const read = (file: string) => argumentFrom(readFile(file, 'utf8'), file);
  return { certificate: await read(certificate), key: await read(key) };
}

/** Longest wait for an order, in ms: a busy authority takes a minute, and Sluice checks and queues orders before. */
const maxWait = 180_000;

/** Prints the progress of an order until there is a certificate, or the order has failed. */
async function waitForCertificate(added: DomainView, { json }: AddOptions): Promise<DomainView> {
  let shown: string | null = null;
  for (const end = Date.now() + maxWait; ; await sleep(500)) {
    const domain = await call<DomainView>('GET', `/v1/domains/${added.name}`);
    const { state, progress, error } = domain.certificate;
    const isDone = progress === null && (state === 'valid' || state === 'expired' || error !== null);
    if (isDone || Date.now() > end) return domain;
    if (!json && progress !== null && progress !== shown) printRemark(`  ${progress}`);
    shown = progress ?? shown;
  }
}

function noCertificate(error: DomainView['certificate']['error'], nextTry: string | null): Error {
  if (error === null) {
    return new AppError('order_failed', 'the certificate is not there yet', {
      hint: 'The order is in progress: `sluice domains list` shows its state.',
    });
  }
  const when = nextTry === null ? '' : ` The next try is at ${formatTime(nextTry)}.`;
  return new AppError(error.code, error.message, { hint: `${error.hint}${when}`.trim() });
}
