import { isIPv6 } from 'node:net';
import { isLoopback, isWildcard } from '../system/net/address.ts';
import { NginxError } from './nginx.ts';
import type { OtherSites, OtherSocket } from './other-sites.ts';

/** An address that our servers listen on. */
export interface Place {
  address: string;
  /** true if sites of others listen there: then one of them answers for names that nobody has */
  isShared: boolean;
  /** whether `listen` says `http2`, which nginx before 1.25.1 takes for all sites of the socket */
  http2: boolean;
}

export interface Listening {
  http: Place[];
  https: Place[];
}

interface Wish {
  ports: { http: number; https: number };
  /** whether the kernel has IPv6 */
  ipv6: boolean;
  /** names that are new: a name of another site is refused only then */
  newNames: readonly string[];
  /** false if conflicts with other sites are accepted */
  isStrict: boolean;
  /** ports that our servers have opened on all addresses already */
  open: readonly number[];
}

/**
 * Decides where our servers listen, so that all answers of other sites stay as they are. nginx has one default server, one
 * set of protocols and one socket for all sites that listen on an address and a port. So where others listen on a port, our
 * servers listen on the addresses of the others only, use only options that the others have, and are never the default.
 * @throws NginxError if this is impossible
 */
export function planListening(others: OtherSites, wish: Wish): Listening {
  const plan = (kind: 'http' | 'https') => {
    const port = wish.ports[kind];
    const sockets = others.sockets.filter((socket) => socket.port === port);
    const isOnLoopback = sockets.every(({ address }) => isLoopback(address));
    if (wish.isStrict) {
      const stream = others.streams.get(port);
      if (stream !== undefined)
        throw refused(`${stream} has nginx pass on port ${port} as a stream`, useHttp);
      for (const socket of sockets) check(socket, kind, wish.newNames);
      const [first] = sockets;
      if (first !== undefined && isOnLoopback && !wish.open.includes(port)) throw onLoopbackOnly(first);
    }
    const shared = sockets.map(({ address, http2 }) => ({ address, isShared: true, http2 }));
    return isOnLoopback ? [...everywhere(wish), ...shared] : shared;
  };
  return { http: plan('http'), https: plan('https') };
}

function everywhere({ ipv6 }: Wish): Place[] {
  return ['0.0.0.0', ...(ipv6 ? ['::'] : [])].map((address) => ({ address, isShared: false, http2: true }));
}

const useHttp = 'Sluice needs ports 80 and 443 for HTTP: let nginx pass the stream on at another port.';

function check(socket: OtherSocket, kind: 'http' | 'https', newNames: readonly string[]): void {
  const { address, port, file, names, ssl, proxyProtocol, hasDefault, isBefore } = socket;
  const where = `port ${port}${isWildcard(address) ? '' : ` of ${address}`}`;
  if (ssl !== (kind === 'https'))
    throw refused(
      `${file} serves ${where} ${ssl ? 'with' : 'without'} TLS`,
      'nginx cannot serve one port with and without TLS: let that site listen on another port.',
    );
  if (proxyProtocol)
    throw refused(
      `${file} has nginx expect the PROXY protocol on ${where}`,
      'Clients of a Sluice domain do not use that protocol: remove `proxy_protocol`, or let that site listen on another port.',
    );
  for (const name of newNames) {
    const other = names.get(name) ?? names.get(`.${name}`);
    if (other !== undefined)
      throw refused(
        `${other} has a site with the name ${name} on ${where} already`,
        `nginx would serve only one of the two: remove the name there (\`grep -rn ${name} /etc/nginx\`), then add the domain again.`,
      );
  }
  if (hasDefault || isBefore) return;
  throw refused(
    `no site on ${where} has "default_server", and nginx reads the site in ${file} after those of Sluice`,
    `A site of Sluice would answer for unknown names. Write \`listen ${port} default_server;\` into the site that must answer for them.`,
  );
}

function onLoopbackOnly({ file, address, port }: OtherSocket): NginxError {
  return refused(
    `${file} listens on port ${port} of ${address} alone, and nginx cannot open the port on all addresses beside it`,
    `Let that site listen on another port, or on all addresses: \`listen ${port};\`.`,
  );
}

function refused(message: string, hint: string): NginxError {
  return new NginxError(`another site of nginx stands in the way: ${message}`, hint);
}

/** Returns an address at which this machine reaches nginx, if nginx listens on these places. */
export function addressToAsk(places: readonly Place[]): string {
  const addresses = places.map(({ address }) => address);
  if (addresses.includes('0.0.0.0')) return '127.0.0.1';
  const [first = '127.0.0.1'] = addresses;
  return isWildcard(first) ? (isIPv6(first) ? '::1' : '127.0.0.1') : first;
}
