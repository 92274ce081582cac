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
