import { lookup } from 'node:dns/promises';
import { isIP, isIPv6 } from 'node:net';
import { fromUrlHost, toUrlHost } from '../system/net/address.ts';
import type { Directive } from './nginx-dump.ts';

/** A socket that sites of others share, with its options: nginx has one set of options for all servers on a socket. */
export interface OtherSocket {
  /** `0.0.0.0`, `::`, or a specific address */
  address: string;
  port: number;
  /** true if a site declares `default_server` */
  hasDefault: boolean;
  /** true if nginx reads a site for the socket before our file */
  isBefore: boolean;
  ssl: boolean;
  http2: boolean;
  proxyProtocol: boolean;
  /** true if `::` takes IPv4 connections, too */
  isDual: boolean;
  /** names of its sites, in lower case, with the file of each */
  names: Map<string, string>;
  /** a file with a site for it */
  file: string;
}

/** The configuration of others. */
export interface OtherSites {
  sockets: OtherSocket[];
  /** ports that `stream` or `mail` listens on, with the file */
  streams: Map<number, string>;
}

/**
 * Collects the sites of others.
 * @param own files whose servers are ours
 */
export async function otherSites(
  directives: readonly Directive[],
  own: readonly string[],
): Promise<OtherSites> {
  const sockets = new Map<string, OtherSocket>();
  const streams = new Map<number, string>();
  let isBefore = true;
  for (const { name, block = [] } of directives) {
    if (name === 'stream' || name === 'mail')
      for (const server of block.filter((each) => each.name === 'server'))
        for (const { args } of listensOf(server))
          for (const { port } of await placesIn(args[0] ?? '')) streams.set(port, server.file);
    if (name !== 'http') continue;
    for (const server of block) {
      if (server.name === 'place') isBefore = false;
      if (server.name !== 'server' || own.includes(server.file)) continue;
      await addServer(sockets, server, isBefore);
    }
  }
  return { sockets: [...sockets.values()], streams };
}

async function addServer(
  sockets: Map<string, OtherSocket>,
  server: Directive,
  isBefore: boolean,
): Promise<void> {
  const names = (server.block ?? []).filter(({ name }) => name === 'server_name').flatMap(({ args }) => args);
  for (const { args } of listensOf(server)) {
    const [where = '', ...options] = args;
    // HTTP/3: it shares no socket with TCP.
    if (options.includes('quic')) continue;
    for (const { address, port } of await placesIn(where)) {
      const key = `${address} ${port}`;
      const socket = sockets.get(key) ?? {
        ...{
          address,
          port,
          hasDefault: false,
          isBefore: false,
          ssl: false,
          http2: false,
          proxyProtocol: false,
        },
        ...{ isDual: false, names: new Map(), file: server.file },
      };
      sockets.set(key, socket);
      socket.hasDefault ||= options.includes('default_server') || options.includes('default');
      socket.isBefore ||= isBefore;
      socket.ssl ||= options.includes('ssl');
      socket.http2 ||= options.includes('http2');
      socket.proxyProtocol ||= options.includes('proxy_protocol');
      socket.isDual ||= options.includes('ipv6only=off');
      for (const name of names) socket.names.set(name.toLowerCase(), server.file);
    }
  }
}

/** A server without a `listen` listens on port 80: nginx's master is root. */
function listensOf({ block = [], file }: Directive): Directive[] {
  const listens = block.filter(({ name }) => name === 'listen');
  return listens.length > 0 ? listens : [{ name: 'listen', args: ['80'], block: undefined, file }];
}

/** Reads the first argument of `listen`: an address, a port or both, a range of ports, or the path of a unix socket. */
async function placesIn(where: string): Promise<{ address: string; port: number }[]> {
  if (where.startsWith('unix:')) return [];
  if (/^\d+(?:-\d+)?$/.test(where)) return portsIn(where).map((port) => ({ address: '0.0.0.0', port }));
  const [, host = '', ports = '80'] = /^(\[[^\]]*\]|[^:]*)(?::(\d+(?:-\d+)?))?$/.exec(where) ?? [];
  const addresses = await addressesOf(fromUrlHost(host));
  return addresses.flatMap((address) => portsIn(ports).map((port) => ({ address, port })));
}

function portsIn(text: string): number[] {
  const [first = 0, last = first] = text.split('-').map(Number);
  return Array.from({ length: Math.max(0, Math.min(last, 65_535) - first + 1) }, (_, index) => first + index);
}

/** Returns numeric addresses in canonical form. nginx listens on all addresses of a name. */
async function addressesOf(host: string): Promise<string[]> {
  if (host === '*' || host === '') return ['0.0.0.0'];
  if (isIPv6(host)) return [fromUrlHost(new URL(`http://${toUrlHost(host)}`).hostname)];
  if (isIP(host) !== 0) return [host];
  const found = await lookup(host, { all: true }).catch(() => []);
  return found.map(({ address }) => address);
}
