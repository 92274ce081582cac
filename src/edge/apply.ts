import { existsSync } from 'node:fs';
import { isDeepStrictEqual, parseArgs } from 'node:util';
import * as v from 'valibot';
import { apiSocket } from '../config/installed.ts';
import { homeFromEnvironment, Paths } from '../config/paths.ts';
import { faultsOf } from '../config/settings-file.ts';
import { systemCode } from '../errors/app-error.ts';
import { type Applied, type Desired, type DesiredHost, desiredSchema } from './desired.ts';
import { findOtherSites, planListening } from './listening.ts';
import {
  checkConfig,
  findPortConflict,
  loadConfig,
  masterPid,
  NginxError,
  nginxVersion,
  rememberWorkers,
} from './nginx.ts';
import { type ConfigTexts, nginxConfig } from './nginx-config.ts';
import { ownFileMarker, parseDump } from './nginx-dump.ts';
import { NginxFiles } from './nginx-files.ts';
import { isLive, waitUntilLive } from './probe.ts';
import { readUntrusted, writeAsOwner } from './untrusted-home.ts';

/** Size limit of `wanted.json`, in bytes. */
const maxDesiredBytes = 1024 ** 2;

/** Options for tests. */
const { values: options } = parseArgs({
  options: {
    home: { type: 'string', default: homeFromEnvironment() },
    'nginx-directory': { type: 'string', default: '/etc/nginx' },
    http: { type: 'string', default: '80' },
    https: { type: 'string', default: '443' },
    'api-socket': { type: 'string', default: apiSocket },
    /** limit of the time for a reload, in ms */
    'reload-deadline': { type: 'string', default: '10000' },
  },
});
const { home, edge } = new Paths(options.home);
const files = new NginxFiles(options['nginx-directory']);
const ports = { http: Number(options.http), https: Number(options.https) };

/**
 * Applies the desired hosts of `wanted.json` to nginx, and writes the result into `applied.json`, until there is no newer
 * revision. Runs as root: `sluice-edge.path` starts this program when the file changes.
 */
async function apply(): Promise<void> {
  for (let last: number | undefined; ; ) {
    const result = await applyOnce(last);
    if (result === undefined) return;
    writeAsOwner(home, edge.applied, `${JSON.stringify(result, null, 2)}\n`);
    // An unreadable file stays unreadable until it changes, which starts this program again.
    if (result.revision === 0) return;
    last = result.revision;
  }
}

/** @param last revision that was applied last. @returns undefined if there is no other one */
async function applyOnce(last: number | undefined): Promise<Applied | undefined> {
  let revision = 0;
  try {
    const desired = readDesired();
    if (desired === undefined || desired.revision === last) return undefined;
    revision = desired.revision;
    await applyHosts(desired.hosts);
    return { revision, at: new Date().toISOString(), error: null };
  } catch (error) {
    if (!(error instanceof NginxError)) process.stderr.write(`${(error as Error).stack}\n`);
    const { message, hint = '' } = error as Error & { hint?: string };
    process.stderr.write(`not applied: ${message}\n`);
    return { revision, at: new Date().toISOString(), error: { message, hint } };
  }
}

async function applyHosts(hosts: readonly DesiredHost[]): Promise<void> {
  const actual = await files.readConfig();
  if (hosts.length === 0 && actual.main === undefined) return;
  const version = await nginxVersion();
  for (const host of hosts) await files.copyCertificate(host, home, edge);
  const { listening, isSplit } = await findAddresses(hosts, actual);
  const facts = {
    ...{ version, listening, ports, apiSocket: options['api-socket'], challenges: edge.challenges },
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
    await checkConfig('-t');
    const isReplaced = await rememberWorkers();
    isLoaded = true;
    await loadConfig();
    await waitUntilLive(probe, isReplaced, Number(options['reload-deadline']));
  } catch (error) {
    // A fault in the files is not about ports.
    const conflict = isLoaded ? await findPortConflict([ports.http, ports.https]) : undefined;
    if (!isSame) await restore(actual, isLoaded);
    throw conflict ?? error;
  }
  await files.sweep(hosts);
  process.stdout.write(`nginx serves ${hosts.length} host names\n`);
}

/** Restores the files, and reloads nginx, which may already use the new files for other sites. */
async function restore(before: ConfigTexts, isLoaded: boolean): Promise<void> {
  await files.writeConfig(before);
  if (!isLoaded || (await masterPid()) === undefined) return;
  await loadConfig().catch((error: Error) => {
    process.stderr.write(`nginx did not load its former configuration: ${error.message}\n`);
  });
}

/** Plans where our servers can listen without a change for other sites, and which of our files has the servers. */
async function findAddresses(hosts: readonly DesiredHost[], actual: ConfigTexts) {
  const has = (directive: string) => `${actual.main ?? ''}${actual.last ?? ''}`.includes(`    ${directive}`);
  const newNames = hosts.map(({ name }) => name).filter((name) => !has(`server_name ${name};`));
  const open = Object.values(ports).filter((port) => has(`listen ${port};`) || has(`listen ${port} ssl`));
  const dump = hosts.length === 0 ? '' : await readDump(actual);
  const directives = parseDump(dump, [files.main, files.last]);
  const plan = async (isSplit: boolean, isStrict: boolean) => {
    const others = await findOtherSites(directives, isSplit ? files.last : files.main);
    const ipv6 = existsSync('/proc/net/if_inet6');
    return { listening: planListening(others, { ports, ipv6, newNames, open, isStrict }), isSplit };
  };
  const included = directives.flatMap(({ name, block = [] }) => (name === 'http' ? block : []));
  const isLastIncluded = included.some(({ name, args }) => name === ownFileMarker && args[0] === files.last);
  let refusal: NginxError | undefined;
  for (const isSplit of isLastIncluded ? [false, true] : [false]) {
    try {
      return await plan(isSplit, true);
    } catch (error) {
      if (!(error instanceof NginxError)) throw error;
      refusal = error;
    }
  }
  if (newNames.length > 0) throw refusal;
  // A site that was added later conflicts with ours. The renewal of a certificate must not wait for a change of that site.
  return plan(actual.last !== undefined, false);
}

/** Returns the configuration of all sites. Faults in our files do not matter: these files are about to be replaced. */
async function readDump(actual: ConfigTexts): Promise<string> {
  try {
    return await checkConfig('-T');
  } catch (error) {
    if (actual.main === undefined && actual.last === undefined) throw error;
  }
  await files.writeConfig({ main: undefined, last: undefined });
  try {
    return await checkConfig('-T');
  } finally {
    await files.writeConfig(actual);
  }
}

/** @returns undefined if there is no `wanted.json`. @throws NginxError that names the faults */
function readDesired(): Desired | undefined {
  let text: string;
  try {
    text = readUntrusted(home, edge.desired, maxDesiredBytes);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
  const result = v.safeParse(v.pipe(v.string(), v.parseJson({}, 'valid JSON'), desiredSchema), text);
  if (result.success) return result.output;
  throw new NginxError(`wanted.json is invalid: ${faultsOf(result.issues).slice(0, 10).join('; ')}`, '');
}

process.umask(0o022);
await apply();
