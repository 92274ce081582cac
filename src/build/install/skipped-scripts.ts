import type { Notice } from '../../protocol/runner.ts';

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
