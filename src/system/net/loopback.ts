import { BlockList, isIP, isIPv6 } from 'node:net';
import { fromUrl } from './address.ts';

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8);
loopback.addAddress('::1', 'ipv6');

/** Whether what is sent to a host, by name or address, stays on this machine. Names are not looked up. */
export function isLoopback(host: string): boolean {
  // In a URL an IPv6 address has brackets; a server that listens on both families shows IPv4 as `::ffff:127.0.0.1`.
  const plain = fromUrl(host).replace(/^::ffff:(?=[\d.]+$)/i, '');
  if (isIP(plain) === 0) return /^(?:.+\.)?localhost\.?$/i.test(plain);
  return loopback.check(plain, isIPv6(plain) ? 'ipv6' : 'ipv4');
}
