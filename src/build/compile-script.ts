import type { Manifest } from '../config/package-manifest.ts';

/** Scripts that compile an app, in projects without a script `build`. */
const names = /^(?:compile|tsc|transpile|bundle|build[:-].*)$/;

/** Returns the script that most likely builds an app without a script `build`; undefined if there is none. */
export function compileScript(manifest: Manifest | undefined): string | undefined {
  const scripts = Object.keys(manifest?.scripts ?? {}).filter((name) => names.test(name));
  return scripts.find((name) => /:prod(?:uction)?$/.test(name)) ?? scripts[0];
}

/** Returns the hint to let Sluice run a script as the build. */
export function buildHint(script: string): string {
  return `Let Sluice build the app: write {"build": {"command": "${script}"}} in sluice.json.`;
}
