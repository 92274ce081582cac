import { fileURLToPath } from 'node:url';

const at = (name: string) => fileURLToPath(new URL(`apps/${name}.cjs`, import.meta.url));

/** Scripts of apps, each of which says what it does. */
export const apps = {
  hello: at('hello'),
  probe: at('probe'),
  cluster: at('cluster'),
  shared: at('shared'),
  lines: at('lines'),
};
