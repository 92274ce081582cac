import { existsSync } from 'node:fs';
import { isDeepStrictEqual, parseArgs } from 'node:util';
import * as v from 'valibot';
import { apiSocket } from '../config/installed.ts';
import { type EdgePaths, homeFromEnvironment, Paths } from '../config/paths.ts';
import { systemCode } from '../errors/app-error.ts';
import { parseJson } from '../system/fs/files.ts';
import { type Applied, type Wanted, type WantedHost, wantedSchema } from './documents.ts';
import { type Listening, planListening } from './listening.ts';
import { Nginx, NginxError } from './nginx.ts';
import { type ConfigTexts, nginxConfig } from './nginx-config.ts';
import { type Directive, parseDump } from './nginx-dump.ts';
import { NginxFiles } from './nginx-files.ts';
import { noteWorkers } from './nginx-workers.ts';
import { type OtherSites, otherSites } from './other-sites.ts';
import { portConflict } from './port-conflict.ts';
import { isLive, untilLive } from './probe.ts';
import { readUntrusted } from './untrusted-file.ts';
import { writeAsOwner } from './write-as-owner.ts';

const largestWanted = 1024 ** 2;
const nothing: OtherSites = { sockets: [], streams: new Map() };

interface Machine {
  home: string;
  edge: EdgePaths;
  nginx: Nginx;
  files: NginxFiles;
  ports: { http: number; https: number };
  apiSocket: string;
}

/**
 * The part of the edge that is root: makes nginx do what `wanted.json` says, and says in `applied.json` what came of
 * it. Started by `sluice-edge.path` when that file changes; goes on until there is nothing newer in it.
 */
async function apply(machine: Machine): Promise<void> {
  for (let done: number | undefined; ; ) {
    const outcome = await applyOnce(machine, done);
    if (outcome === undefined) return;
    writeAsOwner(machine.home, machine.edge.applied, `${JSON.stringify(outcome, null, 2)}\n`);
    // What cannot be read will not be read better at once; another change of the file starts us again.
    if (outcome.revision === 0) return;
    done = outcome.revision;
  }
}

/** @returns what came of it, or undefined where there is nothing, or nothing newer than what was done */
async function applyOnce(machine: Machine, done: number | undefined): Promise<Applied | undefined> {
  let revision = 0;
  try {
    const text = read(machine);
    if (text === undefined) return undefined;
    const wanted = parse(text);
    if (wanted.revision === done) return undefined;
    revision = wanted.revision;
    await applyWanted(machine, wanted);
    return { revision, at: new Date().toISOString(), error: null };
  } catch (error) {
    if (!(error instanceof NginxError)) process.stderr.write(`${(error as Error).stack}\n`);
    const { message, hint = '' } = error as Error & { hint?: string };
    process.stderr.write(`not applied: ${message}\n`);
    return { revision, at: new Date().toISOString(), error: { message, hint } };
  }
}

async function applyWanted(machine: Machine, { hosts }: Wanted): Promise<void> {
  const { home, edge, nginx, files, ports, apiSocket } = machine;
  const before = await files.config();
  if (hosts.length === 0 && before.main === undefined) return;
  const version = await nginx.version();
  for (const host of hosts) await files.takeCertificate(host, home, edge);
  const { listening, isSplit } = await findPlaces(machine, hosts, before);
  const config = nginxConfig(
    hosts,
    {
      ...{ version, listening, ports, apiSocket, challenges: edge.challenges },
      certificateOf: (host) => files.certificateOf(host),
    },
    isSplit,
  );
  const [host] = hosts;
  const probe = host && { host, mark: config.mark, ports, listening };
  const isSame = isDeepStrictEqual(config.texts, before);
  if (isSame && (probe === undefined || (await isLive(probe)))) return;
  if (!isSame) await files.writeConfig(config.texts);
  let isLoaded = false;
  try {
    await nginx.test();
    const isReplaced = await noteWorkers(await nginx.master());
    isLoaded = true;
    await nginx.load();
    await untilLive(probe, isReplaced);
  } catch (error) {
    // A fault that nginx finds in the files has nothing to do with ports.
    const conflict = isLoaded ? await portConflict([ports.http, ports.https]) : undefined;
    if (!isSame) await takeBack(machine, before, isLoaded);
    throw conflict ?? error;
  }
  await files.sweep(hosts);
  process.stdout.write(`nginx answers for ${hosts.length} host names\n`);
}

/** Restores the files, and has nginx load them: nginx may already use the new files for other sites. */
async function takeBack({ nginx, files }: Machine, before: ConfigTexts, isLoaded: boolean): Promise<void> {
  await files.writeConfig(before);
  if (!isLoaded || (await nginx.master()) === undefined) return;
  await nginx.load().catch((error: Error) => {
    process.stderr.write(`nginx did not load its former configuration: ${error.message}\n`);
  });
}

/** Decides where our servers can listen without a change for other sites, and in which of our files the servers stand. */
async function findPlaces(
  machine: Machine,
  hosts: readonly WantedHost[],
  before: ConfigTexts,
): Promise<{ listening: Listening; isSplit: boolean }> {
  const { files, ports } = machine;
  const wish = {
    ...{ ports, ipv6: existsSync('/proc/net/if_inet6') },
    newNames: hosts.map(({ name }) => name).filter((name) => !has(before, `server_name ${name};`)),
    open: [ports.http, ports.https].filter(
      (port) => has(before, `listen ${port};`) || has(before, `listen ${port} ssl`),
    ),
  };
  if (hosts.length === 0)
    return { listening: planListening(nothing, { ...wish, isStrict: true }), isSplit: false };
  const dump = await dumpOf(machine, before);
  const plan = async (isSplit: boolean, isStrict: boolean) => {
    const directives = parseDump(dump, isSplit ? files.last : files.main);
    const others = await otherSites(directives, [files.main, files.last]);
    return { listening: planListening(others, { ...wish, isStrict }), isSplit };
  };
  let refusal: NginxError | undefined;
  for (const isSplit of isRead(parseDump(dump, files.last)) ? [false, true] : [false]) {
    try {
      return await plan(isSplit, true);
    } catch (error) {
      if (!(error instanceof NginxError)) throw error;
      refusal = error;
    }
  }
  if (wish.newNames.length > 0) throw refusal;
  // Another site now conflicts with ours. The renewal of a certificate must not wait until somebody has changed that site.
  return plan(before.last !== undefined, false);
}

function has({ main = '', last = '' }: ConfigTexts, directive: string): boolean {
  return `${main}${last}`.includes(`    ${directive}`);
}

/** Tells if nginx reads the file that `parseDump` looked for. */
function isRead(directives: readonly Directive[]): boolean {
  return directives.some(
    ({ name, block }) => name === 'http' && block?.some((each) => each.name === 'place'),
  );
}

/** Returns the configuration of all sites. Faults in our files do not matter: these files are about to be replaced. */
async function dumpOf({ nginx, files }: Machine, before: ConfigTexts): Promise<string> {
  try {
    return await nginx.dump();
  } catch (error) {
    if (before.main === undefined && before.last === undefined) throw error;
  }
  await files.writeConfig({ main: undefined, last: undefined });
  try {
    return await nginx.dump();
  } finally {
    await files.writeConfig(before);
  }
}

function read({ home, edge }: Machine): string | undefined {
  try {
    return readUntrusted(home, edge.wanted, largestWanted);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** @throws NginxError that says what is wrong with it */
function parse(text: string): Wanted {
  const result = v.safeParse(wantedSchema, json(text));
  if (result.success) return result.output;
  // What stands there is not repeated: nobody knows who has written it.
  const faults = result.issues.map(
    (issue) => `${v.getDotPath(issue) ?? 'the whole'}: ${issue.expected ?? 'wrong'}`,
  );
  throw new NginxError(`wanted.json is not as it must be: ${faults.slice(0, 10).join('; ')}`, '');
}

function json(text: string): unknown {
  try {
    return parseJson(text);
  } catch {
    throw new NginxError('wanted.json is no JSON', '');
  }
}

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
} as const;

/** The options are for tests, and for an nginx that is not the machine's own. */
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
  };
}

process.umask(0o022);
await apply(machineFrom(process.argv.slice(2)));
