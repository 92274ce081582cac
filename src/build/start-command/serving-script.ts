import type { Manifest } from '../../config/package-manifest.ts';

/** Names of scripts of a server. */
const serverScripts = /^(?:web|server|app|api|backend):(?:start|prod|production|serve)$/;

/** Names of scripts that may serve an app, the likeliest first. */
const names = [
  serverScripts,
  /^(?:server|serve|production|prod|run|www|web|api|backend|launch)$/,
  /^start[:-](?!dev|watch|debug|test)/,
  /:(?:start|prod|production)$/,
];

/** Names of scripts that serve the app for certain. */
const certainNames = [serverScripts, /^(?:server|serve|start[:-]server)$/];

/** Names of scripts that serve an app whose server may be in a package. */
const namesWithPackages = /^(?:www|web|api|backend)$/;

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
export function servesByName(script: string, manifest: Manifest | undefined): boolean {
  if (certainNames.some((name) => name.test(script))) return true;
  return namesWithPackages.test(script) && Object.keys(manifest?.dependencies ?? {}).length > 0;
}
