import { isName } from '../config/paths.ts';

/** Returns a valid name that is like a name in PM2, and not among `taken`: `My Shop` → `my-shop`, then `my-shop-2`. */
export function validName(name: string, taken: ReadonlySet<string>): string {
  const like = name
    .normalize('NFKD')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^[^a-z]+/, '')
    .slice(0, 36)
    .replace(/-+$/, '');
  const first = isName(like) ? like : 'app';
  for (let number = 1; ; number += 1) {
    const candidate = number === 1 ? first : `${first}-${number}`;
    if (!taken.has(candidate)) return candidate;
  }
}
