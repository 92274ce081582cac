import type { Manifest } from '../../config/package-manifest.ts';

/** Names of scripts that may serve an app, the likeliest first. */
const names = [
  /^(?:web|server|app|api|backend):(?:start|prod|production|serve)$/,
  /^(?:server|serve|production|prod|run|www|web|api|backend|launch)$/,
  /^start[:-](?!dev|watch|debug|test)/,
  /:(?:start|prod|production)$/,
];

/** Returns the script of package.json that most likely serves the app; undefined if there is none. */
export function servingScript(manifest: Manifest | undefined): string | undefined {
  const scripts = Object.keys(manifest?.scripts ?? {});
  for (const name of names) {
    const found = scripts.find((script) => name.test(script));
    if (found !== undefined) return found;
  }
  return undefined;
}
