import { isIPv6 } from 'node:net';

/** Whether what listens at an address can be reached at any of the machine's. */
export function isEverywhere(address: string): boolean {
  return address === '::' || address === '0.0.0.0';
}

/** An address as a URL, and nginx, have it: IPv6 in brackets. */
export function inUrl(address: string): string {
  return isIPv6(address) ? `[${address}]` : address;
}

/** The inverse, of a host that may be a name as well. */
export function fromUrl(hostname: string): string {
  return hostname.replace(/^\[|\]$/g, '');
}
