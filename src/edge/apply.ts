import { existsSync } from 'node:fs';
import { isDeepStrictEqual, parseArgs } from 'node:util';
import * as v from 'valibot';
import { apiSocket } from '../config/installed.ts';
import { type EdgePaths, homeFromEnvironment, Paths } from '../config/paths.ts';
import { faultsOf } from '../config/settings-file.ts';
import { systemCode } from '../errors/app-error.ts';
import { parseJson } from '../system/fs/files.ts';
import { type Applied, type Desired, type DesiredHost, desiredSchema } from './desired.ts';
import { findOtherSites, type Listening, planListening } from './listening.ts';
import { findPortConflict, Nginx, NginxError } from './nginx.ts';
import { type ConfigTexts, nginxConfig } from './nginx-config.ts';
import { ownFileMarker, parseDump } from './nginx-dump.ts';
import { NginxFiles } from './nginx-files.ts';
import { isLive, waitUntilLive } from './probe.ts';
import { readUntrusted, writeAsOwner } from './untrusted-home.ts';

/** Size limit of `wanted.json`, in bytes. */
const maxDesiredBytes = 1024 ** 2;

interface Machine {
  home: string;
  edge: EdgePaths;
  nginx: Nginx;
  files: NginxFiles;
  ports: { http: number; https: number };
  apiSocket: string;
  /** limit of the time for a reload, in ms */
  reloadDeadline: number;
}

/**
 * Applies the desired hosts of `wanted.json` to nginx, and writes the result into `applied.json`, until there is no newer
 * revision. Runs as root: `sluice-edge.path` starts this program when the file changes.
 */
async function apply(machine: Machine): Promise<void> {
  for (let last: number | undefined; ; ) {
    const result = await applyOnce(machine, last);
    if (result === undefined) return;
    writeAsOwner(machine.home, machine.edge.applied, `${JSON.stringify(result, null, 2)}\n`);
    // An unreadable file stays unreadable until it changes, which starts this program again.
    if (result.revision === 0) return;
    last = result.revision;
  }
}

/** @param last revision that was applied last. @returns undefined if there is no other one */
async function applyOnce(machine: Machine, last: number | undefined): Promise<Applied | undefined> {
  let revision = 0;
  try {
    const desired = readDesired(machine);
    if (desired === undefined || desired.revision === last) return undefined;
    revision = desired.revision;
    await applyHosts(machine, desired.hosts);
    return { revision, at: new Date().toISOString(), error: null };
  } catch (error) {
    if (!(error instanceof NginxError)) process.stderr.write(`${(error as Error).stack}\n`);
    const { message, hint = '' } = error as Error & { hint?: string };
    process.stderr.write(`not applied: ${message}\n`);
    return { revision, at: new Date().toISOString(), error: { message, hint } };
  }
}

async function applyHosts(machine: Machine, hosts: readonly DesiredHost[]): Promise<void> {
  const { home, edge, nginx, files, ports, apiSocket, reloadDeadline } = machine;
  const actual = await files.readConfig();
  if (hosts.length === 0 && actual.main === undefined) return;
  const version = await nginx.version();
  for (const host of hosts) await files.copyCertificate(host, home, edge);
  const { listening, isSplit } = await findAddresses(machine, hosts, actual);
  const facts = {
    ...{ version, listening, ports, apiSocket, challenges: edge.challenges },
    certificateOf: (host: DesiredHost) => files.certificateOf(host),
  };
  const config = nginxConfig(hosts, facts, isSplit);
  const [host] = hosts;
  const probe = host && { host, mark: config.mark, ports, listening };
  const isSame = isDeepStrictEqual(config.texts, actual);
  if (isSame && (probe === undefined || (await isLive(probe)))) return;
  if (!isSame) await files.writeConfig(config.texts);
  let isLoaded = false;
  try {
    await nginx.check('-t');
    const isReplaced = await nginx.rememberWorkers();
    isLoaded = true;
    await nginx.load();
    await waitUntilLive(probe, isReplaced, reloadDeadline);
  } catch (error) {
    // A fault in the files is not about ports.
    const conflict = isLoaded ? await findPortConflict([ports.http, ports.https]) : undefined;
    if (!isSame) await restore(machine, actual, isLoaded);
    throw conflict ?? error;
  }
  await files.sweep(hosts);
  process.stdout.write(`nginx serves ${hosts.length} host names\n`);
}

/** Restores the files, and reloads nginx, which may already use the new files for other sites. */
async function restore({ nginx, files }: Machine, before: ConfigTexts, isLoaded: boolean): Promise<void> {
  await files.writeConfig(before);
  if (!isLoaded || (await nginx.master()) === undefined) return;
  await nginx.load().catch((error: Error) => {
    process.stderr.write(`nginx did not load its former configuration: ${error.message}\n`);
  });
}

/** Plans where our servers can listen without a change for other sites, and which of our files has the servers. */
async function findAddresses(
  machine: Machine,
  hosts: readonly DesiredHost[],
  actual: ConfigTexts,
): Promise<{ listening: Listening; isSplit: boolean }> {
  const { files, ports } = machine;
  const has = (directive: string) => `${actual.main ?? ''}${actual.last ?? ''}`.includes(`    ${directive}`);
  const options = {
    ...{ ports, ipv6: existsSync('/proc/net/if_inet6') },
    newNames: hosts.map(({ name }) => name).filter((name) => !has(`server_name ${name};`)),
    open: [ports.http, ports.https].filter((port) => has(`listen ${port};`) || has(`listen ${port} ssl`)),
  };
  const dump = hosts.length === 0 ? '' : await readDump(machine, actual);
  const plan = async (isSplit: boolean, isStrict: boolean) => {
    const directives = parseDump(dump, isSplit ? files.last : files.main);
    const others = await findOtherSites(directives, [files.main, files.last]);
    return { listening: planListening(others, { ...options, isStrict }), isSplit };
  };
  const isLastIncluded = parseDump(dump, files.last).some(
    ({ name, block }) => name === 'http' && block?.some((each) => each.name === ownFileMarker),
  );
  let refusal: NginxError | undefined;
  for (const isSplit of isLastIncluded ? [false, true] : [false]) {
    try {
      return await plan(isSplit, true);
    } catch (error) {
      if (!(error instanceof NginxError)) throw error;
      refusal = error;
    }
  }
  if (options.newNames.length > 0) throw refusal;
  // A site that was added later conflicts with ours. The renewal of a certificate must not wait for a change of that site.
  return plan(actual.last !== undefined, false);
}

/** Returns the configuration of all sites. Faults in our files do not matter: these files are about to be replaced. */
async function readDump({ nginx, files }: Machine, actual: ConfigTexts): Promise<string> {
  try {
    return await nginx.check('-T');
  } catch (error) {
    if (actual.main === undefined && actual.last === undefined) throw error;
  }
  await files.writeConfig({ main: undefined, last: undefined });
  try {
    return await nginx.check('-T');
  } finally {
    await files.writeConfig(actual);
  }
}

/** @returns undefined if there is no `wanted.json`. @throws NginxError that names the faults */
function readDesired({ home, edge }: Machine): Desired | undefined {
  let text: string;
  try {
    text = readUntrusted(home, edge.desired, maxDesiredBytes);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
  let value: unknown;
  try {
    value = parseJson(text);
  } catch {
    throw new NginxError('wanted.json is not valid JSON', '');
  }
  const result = v.safeParse(desiredSchema, value);
  if (result.success) return result.output;
  // The message does not repeat values: their author is unknown.
  const faults = faultsOf(result.issues);
  throw new NginxError(`wanted.json is invalid: ${faults.slice(0, 10).join('; ')}`, '');
}

/** Options for tests, and for an nginx that is not the machine's own. */
const options = {
  home: { type: 'string' },
  config: { type: 'string', default: '/etc/nginx/conf.d/sluice.conf' },
  'last-config': { type: 'string', default: '/etc/nginx/sites-enabled/zzz-sluice.conf' },
  certificates: { type: 'string', default: '/etc/nginx/sluice' },
  nginx: { type: 'string', default: 'nginx' },
  'nginx-option': { type: 'string', multiple: true },
  'pid-file': { type: 'string' },
  http: { type: 'string', default: '80' },
  https: { type: 'string', default: '443' },
  'api-socket': { type: 'string', default: apiSocket },
  'reload-deadline': { type: 'string', default: '10000' },
} as const;

function machineFrom(args: string[]): Machine {
  const { values } = parseArgs({ args, options });
  const { home, edge } = new Paths(values.home ?? homeFromEnvironment());
  return {
    home,
    edge,
    nginx: new Nginx(values.nginx, values['nginx-option'] ?? [], values['pid-file']),
    files: new NginxFiles(values.config, values['last-config'], values.certificates),
    ports: { http: Number(values.http), https: Number(values.https) },
    apiSocket: values['api-socket'],
    reloadDeadline: Number(values['reload-deadline']),
  };
}

process.umask(0o022);
await apply(machineFrom(process.argv.slice(2)));
