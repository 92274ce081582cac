import { domainToASCII } from 'node:url';
import { AppError } from '../errors/app-error.ts';

const label = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/**
 * Whether `text` is a host name as DNS has them, in small letters and with a dot in it. Nothing else may reach nginx's
 * configuration or the name of a file: what passes here has no quote, no space, no slash and no semicolon.
 */
export function isHostName(text: string): boolean {
  const labels = text.split('.');
  if (text.length > 253 || labels.length < 2) return false;
  // The last one is never all digits: such a name would be an address.
  return labels.every((each) => label.test(each)) && !/^\d+$/.test(labels.at(-1) ?? '');
}

/** As DNS has it, however it is written: with capitals, with umlauts, with the dot of the root. @throws `invalid_domain` */
export function hostNameFrom(text: string): string {
  // The translation forgives what none of ours may have in it, such as the end of a line.
  const ascii = /\p{Cc}/u.test(text) || /^[ -~]*$/.test(text) ? text : domainToASCII(text);
  const name = ascii.toLowerCase().replace(/\.$/, '');
  assertHostName(name);
  return name;
}

/** @throws AppError `invalid_domain` */
export function assertHostName(name: string): void {
  if (isHostName(name)) return;
  throw new AppError('invalid_domain', `"${name}" is no host name`, {
    hint: 'Such as shop.example.com: letters, digits and "-", with dots between them; no address, no port, no "*".',
  });
}
