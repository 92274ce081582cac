import { lookup } from 'node:dns/promises';
import { isIP, isIPv6 } from 'node:net';
import { fromUrlHost, isLoopback, isWildcard, toUrlHost } from '../system/net/address.ts';
import { NginxError } from './nginx.ts';
import { type Directive, ownFileMarker } from './nginx-dump.ts';

/** Address that our servers listen on. */
export interface ListenAddress {
  address: string;
  /** true if sites of others listen there: one of them then serves unknown names */
  isShared: boolean;
  /** true if `listen` has `http2`, which nginx before 1.25.1 applies to all sites of the socket */
  http2: boolean;
}

export type Listening = Record<'http' | 'https', ListenAddress[]>;

/** `listen` of another site */
interface OtherListen {
  /** `0.0.0.0`, `::`, or a specific address */
  address: string;
  port: number;
  /** such as `ssl` */
  options: string[];
  /** names of the site, in lower case */
  names: string[];
  file: string;
  /** true if nginx reads the site before our file */
  isBefore: boolean;
}

interface OtherSites {
  listens: OtherListen[];
  /** ports that `stream` or `mail` listens on, with the file */
  streams: Map<number, string>;
}

/** Finds the sites of others. @param ownFile our file with the servers */
export async function findOtherSites(directives: Directive[], ownFile: string): Promise<OtherSites> {
  const listens: OtherListen[] = [];
  const streams = new Map<number, string>();
  let isBefore = true;
  for (const { name: kind, block: servers = [] } of directives) {
    if (!['http', 'stream', 'mail'].includes(kind)) continue;
    for (const { name, args, block = [], file } of servers) {
      if (name === ownFileMarker && args[0] === ownFile) isBefore = false;
      if (name !== 'server') continue;
      const valuesOf = (directive: string) =>
        block.filter((each) => each.name === directive).map((each) => each.args);
      const names = valuesOf('server_name').flatMap((texts) => texts.map((text) => text.toLowerCase()));
      const written = valuesOf('listen');
      // A server without `listen` listens on port 80, since the master of nginx is root.
      for (const [where = '', ...options] of written.length > 0 ? written : [['80']])
        for (const { address, port } of await addressesIn(where)) {
          if (kind !== 'http') streams.set(port, file);
          // HTTP/3 uses UDP.
          else if (!options.includes('quic')) listens.push({ address, port, options, names, file, isBefore });
        }
    }
  }
  return { listens, streams };
}

/** Reads the first argument of `listen`: an address, a port or both, a range of ports, or the path of a unix socket. */
async function addressesIn(where: string): Promise<{ address: string; port: number }[]> {
  if (where.startsWith('unix:')) return [];
  const withHost = /^\d+(?:-\d+)?$/.test(where) ? `*:${where}` : where;
  const [, host = '', ports = '80'] = /^(\[[^\]]*\]|[^:]*)(?::(\d+(?:-\d+)?))?$/.exec(withHost) ?? [];
  const [first = 0, last = first] = ports.split('-').map(Number);
  const addresses = await addressesOf(fromUrlHost(host));
  return addresses.flatMap((address) => {
    const count = Math.max(0, Math.min(last, 65_535) - first + 1);
    return Array.from({ length: count }, (_, index) => ({ address, port: first + index }));
  });
}

/** Returns numeric addresses in canonical form. nginx listens on all addresses of a name. */
async function addressesOf(host: string): Promise<string[]> {
  if (host === '*' || host === '') return ['0.0.0.0'];
  if (isIPv6(host)) return [fromUrlHost(new URL(`http://${toUrlHost(host)}`).hostname)];
  if (isIP(host) !== 0) return [host];
  const found = await lookup(host, { all: true }).catch(() => []);
  return found.map(({ address }) => address);
}

interface ListeningOptions {
  ports: { http: number; https: number };
  /** true if the kernel has IPv6 */
  ipv6: boolean;
  /** names that are added: another site with one of them is a conflict */
  newNames: readonly string[];
  /** false to accept conflicts with other sites */
  isStrict: boolean;
  /** ports that our servers listen on already, on all addresses */
  open: readonly number[];
}

/**
 * Plans where our servers listen, so that all answers of other sites stay the same. nginx has one default server, one set of
 * protocols and one socket for all sites that listen on an address and a port. So if others listen on a port, our servers
 * listen on the addresses of the others only, use only options that the others have, and are never the default.
 * @throws NginxError if this is impossible
 */
export function planListening(others: OtherSites, options: ListeningOptions): Listening {
  const { ports, ipv6, newNames, isStrict, open } = options;
  const everywhere = ['0.0.0.0', ...(ipv6 ? ['::'] : [])];
  const plan = (kind: 'http' | 'https') => {
    const port = ports[kind];
    const listens = others.listens.filter((each) => each.port === port);
    const sockets = Map.groupBy(listens, ({ address }) => address);
    const isOnLoopback = listens.every(({ address }) => isLoopback(address));
    if (isStrict) {
      const stream = others.streams.get(port);
      if (stream !== undefined)
        throw conflict(
          `${stream} has nginx pass on port ${port} as a stream`,
          'Sluice needs ports 80 and 443 for HTTP: let nginx pass on the stream at another port.',
        );
      for (const socket of sockets.values()) assertCompatible(socket, kind, newNames);
      const [first] = listens;
      if (first !== undefined && isOnLoopback && !open.includes(port))
        throw conflict(
          `${first.file} listens on port ${port} of ${first.address} alone, and nginx cannot open the port on all addresses beside it`,
          `Let that site listen on another port, or on all addresses: \`listen ${port};\`.`,
        );
    }
    const shared = [...sockets].map(([address, socket]) => {
      return { address, isShared: true, http2: hasOption(socket, 'http2') };
    });
    const own = everywhere.map((address) => ({ address, isShared: false, http2: true }));
    return isOnLoopback ? [...own, ...shared] : shared;
  };
  return { http: plan('http'), https: plan('https') };
}

/** Returns true if a socket has an option: nginx has one set of options for all `listen` of an address and a port. */
function hasOption(socket: readonly OtherListen[], option: string): boolean {
  return socket.some(({ options }) => options.includes(option));
}

function assertCompatible(socket: OtherListen[], kind: 'http' | 'https', newNames: readonly string[]): void {
  const [{ address, port, file }] = socket as [OtherListen];
  const where = `port ${port}${isWildcard(address) ? '' : ` of ${address}`}`;
  const isSecure = hasOption(socket, 'ssl');
  if (isSecure !== (kind === 'https'))
    throw conflict(
      `${file} serves ${where} ${isSecure ? 'with' : 'without'} TLS`,
      'nginx cannot serve one port with and without TLS: let that site listen on another port.',
    );
  if (hasOption(socket, 'proxy_protocol'))
    throw conflict(
      `${file} has nginx expect the PROXY protocol on ${where}`,
      'Clients of a Sluice domain do not use that protocol: remove `proxy_protocol`, or let that site listen on another port.',
    );
  for (const name of newNames) {
    const other = socket.find(({ names }) => names.includes(name) || names.includes(`.${name}`));
    if (other !== undefined)
      throw conflict(
        `${other.file} has a site with the name ${name} on ${where} already`,
        `nginx would serve only one of the two: remove the name there (\`grep -rn ${name} /etc/nginx\`), then add the domain again.`,
      );
  }
  const hasDefault = hasOption(socket, 'default_server') || hasOption(socket, 'default');
  if (hasDefault || socket.some(({ isBefore }) => isBefore)) return;
  throw conflict(
    `no site on ${where} has "default_server", and nginx reads the site in ${file} after those of Sluice`,
    `A site of Sluice would answer for unknown names. Write \`listen ${port} default_server;\` into the site that must answer for them.`,
  );
}

function conflict(message: string, hint: string): NginxError {
  return new NginxError(`conflict with another site of nginx: ${message}`, hint);
}

/** Returns an address at which this machine reaches an nginx that listens on these addresses. */
export function addressToAsk(addresses: readonly ListenAddress[]): string {
  const all = addresses.map(({ address }) => address);
  const first = all.includes('0.0.0.0') ? '0.0.0.0' : (all[0] ?? '127.0.0.1');
  if (!isWildcard(first)) return first;
  return isIPv6(first) ? '::1' : '127.0.0.1';
}
