import { domainToASCII } from 'node:url';

const label = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/**
 * Returns true for a host name of DNS in lower case with a dot in it. Only such a text may reach nginx's configuration or
 * the name of a file: it has no quote, space, slash or semicolon.
 */
export function isHostName(text: string): boolean {
  const labels = text.split('.');
  if (text.length > 253 || labels.length < 2) return false;
  // A name whose last label is all digits would be an address.
  return labels.every((each) => label.test(each)) && !/^\d+$/.test(labels.at(-1) ?? '');
}

/** Returns the form of DNS of a text: lower case, ASCII, without the root's dot. It may not be a host name. */
export function dnsForm(text: string): string {
  // `domainToASCII` drops characters that no name may have, such as line ends.
  const ascii = /\p{Cc}/u.test(text) || /^[ -~]*$/.test(text) ? text : domainToASCII(text);
  return ascii.toLowerCase().replace(/\.$/, '');
}
