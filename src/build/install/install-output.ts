import type { Notice } from '../../protocol/runner.ts';

/**
 * Returns a filter for the output of npm, line by line. Drops the usage of `npm ci` after a lockfile error (90 lines). Drops
 * the list of install scripts: npm 11 runs them anyway, and `skippedScripts` reports scripts that were not run.
 */
export function npmNoiseFilter(): (line: string) => boolean {
  let inUsage = false;
  return (line) => {
    // npm 11 warns of the variable that names the headers to older versions of node-gyp.
    if (/^npm warn Unknown env config "nodedir"/.test(line)) return false;
    if (/^npm warn install-scripts\b/.test(line) || /^npm error\s*$/.test(line)) return false;
    if (!/^npm error /.test(line)) return true;
    if (/^npm error (?:Clean install a project|Install a package|Usage:)$/.test(line)) inUsage = true;
    const wasInUsage = inUsage;
    if (/^npm error Run "npm help /.test(line)) inUsage = false;
    return !wasInUsage;
  };
}

/**
 * Reports of package managers about install scripts that they did not run. npm 12, pnpm 10, yarn 4.14 and bun run only scripts
 * that are allowed. All but pnpm 11 end with status 0, and the app fails later.
 */
const reports = [
  {
    // npm 11 lists the scripts, too, but runs them: "not yet covered" instead of "blocked".
    applies: /npm warn install-scripts .* blocked/,
    names: /npm warn install-scripts {3}(\S+) \(/g,
    hint: 'Run `npm install-scripts approve` on your machine and commit its changes.',
  },
  {
    applies: /Ignored build scripts: /,
    names: /Ignored build scripts: ([^│\n]+?)\.?\s*(?:│|$)/gm,
    hint: 'Run `pnpm approve-builds` on your machine and commit its changes.',
  },
  {
    applies: /YN0004: .* build scripts/,
    names: /YN0004: │ (\S+) lists build scripts/g,
    hint: 'Allow each script with `"built": true` under "dependenciesMeta" in package.json, or all with `enableScripts: true` in .yarnrc.yml.',
  },
  {
    applies: /^Blocked \d+ \w+\. Run `bun pm untrusted`/m,
    names: /^Blocked (\d+ \w+)\. Run `bun pm untrusted`/gm,
    hint: 'Run `bun pm untrusted` on your machine to list them, allow them with `bun pm trust NAME`, and commit package.json.',
  },
];

/** Length of the part of a line that is searched: the time grows with its square. */
const maxSearched = 2000;

/** Returns a notice for each report of skipped install scripts in the output of an install. */
export function skippedScripts(output: string[]): Notice[] {
  const text = output.map((line) => line.slice(0, maxSearched)).join('\n');
  return reports
    .filter(({ applies }) => applies.test(text))
    .map(({ names, hint }) => ({
      code: 'install_scripts_skipped',
      message: `Install scripts were not run: ${[...text.matchAll(names)].map(([, name]) => name).join(', ')}`,
      hint,
    }));
}
