import type { Manifest } from '../../config/package-manifest.ts';

/** Names of scripts that may serve an app, the likeliest first. */
const names = [
  /^(?:web|server|app|api|backend):(?:start|prod|production|serve)$/,
  /^(?:server|serve|production|prod|run|www|web|api|backend|launch)$/,
  /^start[:-](?!dev|watch|debug|test)/,
  /:(?:start|prod|production)$/,
];

/** Names of scripts that serve the app for certain. */
const certainNames = /^(?:server|serve|start[:-]server)$/;

/** Returns the script of package.json that most likely serves the app; undefined if there is none. */
export function servingScript(manifest: Manifest | undefined): string | undefined {
  return servingScripts(manifest)[0];
}

/** Returns the scripts of package.json that may serve the app, the likeliest first. */
export function servingScripts(manifest: Manifest | undefined): string[] {
  const scripts = Object.keys(manifest?.scripts ?? {});
  return [...new Set(names.flatMap((name) => scripts.filter((script) => name.test(script))))];
}

/** Returns true if the name of a script says that the script serves the app. */
export function servesByName(script: string): boolean {
  return certainNames.test(script);
}
