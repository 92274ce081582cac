import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';
import * as v from 'valibot';
import { apiSocket } from '../config/installed.ts';
import { type EdgePaths, homeFromEnvironment, Paths } from '../config/paths.ts';
import { systemCode } from '../errors/app-error.ts';
import { parseJson } from '../system/files.ts';
import { type Applied, type Wanted, wantedSchema } from './documents.ts';
import { Nginx, NginxError } from './nginx.ts';
import { nginxConfig } from './nginx-config.ts';
import { NginxFiles } from './nginx-files.ts';
import { noteWorkers } from './nginx-workers.ts';
import { portConflict } from './port-conflict.ts';
import { isLive, untilLive } from './probe.ts';
import { readUntrusted } from './untrusted-file.ts';
import { writeAsOwner } from './write-as-owner.ts';

const largestWanted = 1024 ** 2;

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

async function applyWanted(
  { home, edge, nginx, files, ports, apiSocket }: Machine,
  { hosts }: Wanted,
): Promise<void> {
  const before = await files.config();
  if (hosts.length === 0 && before === undefined) return;
  const version = await nginx.version();
  for (const host of hosts) await files.takeCertificate(host, home, edge);
  const { text, mark } = nginxConfig(hosts, {
    ...{ version, ports, apiSocket, challenges: edge.challenges },
    ipv6: existsSync('/proc/net/if_inet6'),
    certificateOf: (host) => files.certificateOf(host),
  });
  const [host] = hosts;
  const probe = host && { host, mark, ports };
  const isSame = text === before;
  if (isSame && (probe === undefined || (await isLive(probe)))) return;
  if (!isSame) await files.writeConfig(text);
  try {
    await nginx.test();
    const isReplaced = await noteWorkers(await nginx.master());
    await nginx.load();
    await untilLive(probe, isReplaced);
  } catch (error) {
    if (!isSame) await files.writeConfig(before);
    throw (await portConflict([ports.http, ports.https])) ?? error;
  }
  await files.sweep(hosts);
  process.stdout.write(`nginx answers for ${hosts.length} host names\n`);
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
    files: new NginxFiles(values.config, values.certificates),
    ports: { http: Number(values.http), https: Number(values.https) },
    apiSocket: values['api-socket'],
  };
}

process.umask(0o022);
await apply(machineFrom(process.argv.slice(2)));
