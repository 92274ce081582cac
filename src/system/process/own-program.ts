import { usualPath } from './usual-path.ts';

/**
 * Returns the variables of a program that Sluice itself starts. The program inherits no variable of ours: NODE_OPTIONS, TMPDIR or
 * HOME may name a place where others can write. Only PATH is passed on: bin/sluice and libexec/unit have set it. The program has
 * no home, and npm keeps no compiled code in /tmp.
 * @param extra more variables that this program needs
 */
export function ownEnvironment(extra: Record<string, string> = {}): Record<string, string> {
  return {
    PATH: process.env['PATH'] ?? usualPath,
    HOME: '/',
    LC_ALL: 'C',
    NODE_DISABLE_COMPILE_CACHE: '1',
    ...extra,
  };
}

/**
 * Returns the options for `spawn` and `execFile` that start a program with nothing of ours: neither our variables nor our working
 * directory, which may be that of an app.
 */
export function ownProgram(extra: Record<string, string> = {}): { env: Record<string, string>; cwd: string } {
  return { env: ownEnvironment(extra), cwd: '/' };
}
