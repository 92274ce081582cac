import { BlockList, isIP, isIPv6 } from 'node:net';

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8);
loopback.addAddress('::1', 'ipv6');

/** Returns true for an address that stands for all addresses of the machine. */
export function isWildcard(address: string): boolean {
  return address === '::' || address === '0.0.0.0';
}

/** Returns an address in the form for URLs and nginx: IPv6 in brackets. */
export function toUrlHost(address: string): string {
  return isIPv6(address) ? `[${address}]` : address;
}

/** Returns the address in the host of a URL, or the host itself if it is a name. */
export function fromUrlHost(hostname: string): string {
  return hostname.replace(/^\[|\]$/g, '');
}

/** Returns true if packets to a host, by name or address, stay on this machine. Does not look names up. */
export function isLoopback(host: string): boolean {
  // A server that listens on both families shows IPv4 as `::ffff:127.0.0.1`.
  const plain = fromUrlHost(host).replace(/^::ffff:(?=[\d.]+$)/i, '');
  if (isIP(plain) === 0) return /^(?:.+\.)?localhost\.?$/i.test(plain);
  return loopback.check(plain, isIPv6(plain) ? 'ipv6' : 'ipv4');
}
