import { createHmac, randomBytes } from 'node:crypto';
import type { Fingerprints } from './release.ts';

/** Returns fingerprints of values, with a new random key unless `key` is given. */
export function fingerprint(
  values: Record<string, string>,
  key = randomBytes(32).toString('hex'),
): Fingerprints {
  const of = Object.entries(values).map(([name, value]) => {
    const hash = createHmac('sha256', Buffer.from(key, 'hex')).update(`${name}\0${value}`).digest('hex');
    return [name, hash.slice(0, 32)] as const;
  });
  return { key, of: Object.fromEntries(of) };
}
