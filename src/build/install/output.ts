import type { Notice } from '../../protocol/runner.ts';

/**
 * Tells, line by line, which of what npm prints is worth showing. Not: the usage of `npm ci` that it ends with when the
 * lockfile does not fit, 90 lines; and the install scripts it lists, which npm 11 runs all the same, and about which a
 * notice says what there is to say where they were not run.
 */
export function npmNoiseFilter(): (line: string) => boolean {
  let inUsage = false;
  return (line) => {
    if (/^npm warn install-scripts\b/.test(line) || /^npm error\s*$/.test(line)) return false;
    if (!/^npm error /.test(line)) return true;
    if (/^npm error (?:Clean install a project|Install a package|Usage:)$/.test(line)) inUsage = true;
    const wasInUsage = inUsage;
    if (/^npm error Run "npm help /.test(line)) inUsage = false;
    return !wasInUsage;
  };
}

/**
 * Newer package managers (npm 12, pnpm 10, yarn 4.14) do not run the install scripts of dependencies unless somebody
 * has allowed them, and all but pnpm 11 end with status 0: the app fails later, for want of what they build.
 */
const reports = [
  {
    // npm 11 lists them too, but runs them: it says "not yet covered" where npm 12 says "blocked".
    applies: /npm warn install-scripts .* blocked/,
    names: /npm warn install-scripts {3}(\S+) \(/g,
    hint: 'Run `npm install-scripts approve` on your machine and commit what it changes.',
  },
  {
    applies: /Ignored build scripts: /,
    names: /Ignored build scripts: ([^│\n]+?)\.?\s*(?:│|$)/gm,
    hint: 'Run `pnpm approve-builds` on your machine and commit what it changes.',
  },
  {
    applies: /YN0004: .* build scripts/,
    names: /YN0004: │ (\S+) lists build scripts/g,
    hint: 'Allow each with `"built": true` under "dependenciesMeta" in package.json, or all with `enableScripts: true` in .yarnrc.yml.',
  },
];

/** What an install printed about scripts it did not run, as a notice. */
export function skippedScripts(output: string[]): Notice[] {
  const text = output.join('\n');
  return reports
    .filter(({ applies }) => applies.test(text))
    .map(({ names, hint }) => ({
      code: 'install_scripts_skipped',
      message: `Install scripts were not run: ${[...text.matchAll(names)].map(([, name]) => name).join(', ')}`,
      hint,
    }));
}
