import type { KnownFailure } from '../diagnose.ts';
import { everywhere } from '../occasions.ts';
import {
  buildOutput,
  hasOtherCase,
  isBesideCaller,
  isDevDependency,
  packageOf,
  pathInRelease,
} from '../release-files.ts';

/** Occasions after the build, when dev dependencies are gone. */
const afterBuild = ['hook', 'boot'] as const;

/** Messages about a module, with the file or the folder that imports it. */
const unresolved =
  /Cannot find module '(?<module>[./][^']*)'(?: imported from (?<from>\S+))?|Can't resolve '(?<module2>\.[^']*)' in '(?<folder>[^']+)'|Could not resolve "(?<module3>\.[^"]*)" from "(?<from2>[^"]+)"|^(?<from3>[^\s(]+)\(\d+,\d+\): error TS(?:2307|1149|1261): .*?["'](?<module4>[./][^"']*)["']/;

/** Failures because of a file or a package that the release lacks. */
export const moduleFailures: KnownFailure[] = [
  {
    on: everywhere,
    pattern: /Cannot find module '[A-Z]:\\/,
    reason: 'the release has files with a path of the Windows machine that made them',
    hint: 'Do not commit node_modules and build output: run `git rm -r --cached node_modules`, add them to .gitignore, and commit.',
  },
  {
    on: everywhere,
    pattern: unresolved,
    check: (match) => {
      const { module, module2, module3, module4, from, from2, from3, folder } = match.groups;
      const name = module ?? module2 ?? module3 ?? module4;
      const importer = from ?? from2 ?? from3;
      return hasOtherCase({
        ...match,
        groups: {
          ...(name !== undefined && { module: name }),
          ...(importer !== undefined && { from: importer }),
          ...(folder !== undefined && { folder }),
        },
      });
    },
    reason:
      'the import of {wanted} and the file {actual} differ in case; Linux file names are case-sensitive',
    hint: 'Write {actual} in the import. To rename the file instead: `git mv {actual} {wanted}`, with its file extension.',
  },
  {
    on: everywhere,
    pattern:
      /Cannot find module '\.prisma\/client|@prisma\/client did not initialize yet|Cannot find module '@prisma\/client\/runtime/,
    reason: 'the Prisma client is not generated',
    hint: 'Add the script "postinstall": "prisma generate" to package.json, and commit.',
  },
  {
    on: everywhere,
    pattern: /Prisma Client could not locate the Query Engine/,
    reason: 'the Prisma client was generated for another system',
    hint: 'Add the script "postinstall": "prisma generate" to package.json, and remove "binaryTargets" without "native" from schema.prisma.',
  },
  {
    on: everywhere,
    pattern:
      /Please install (?<package>[\w@/-]+) package manually|^\s*\$ npm install (?<package2>[\w@/-]+) --save$/,
    check: ({ groups }) => ({ package: groups['package'] ?? groups['package2'] ?? '' }),
    reason: 'the driver {package} of the database is not installed',
    hint: 'Add it and commit the lockfile: `npm install {package}`.',
  },
  {
    on: afterBuild,
    pattern: /Cannot find (?:module|package) '(?<module>@?[\w][^']*)'/,
    check: isDevDependency,
    reason: '{package} is a dev dependency, which Sluice removes after the build',
    hint: 'Move {package} to "dependencies" in package.json, or keep dev dependencies with "build": {"prune": false} in sluice.json.',
  },
  {
    on: everywhere,
    pattern:
      /Cannot find (?:module|package) ['"](?<module>@?\w[^'"]*)['"]|Can't resolve '(?<module2>@?\w[^']*)'|Could not resolve "(?<module3>@?\w[^"]*)"|failed to resolve import "(?<module4>@?\w[^"]*)"/,
    check: ({ groups: { module, module2, module3, module4 } }) => ({
      package: packageOf(module ?? module2 ?? module3 ?? module4 ?? ''),
    }),
    reason: '{package} is not installed',
    hint: 'Run `npm install {package}` and commit package.json with the lockfile.',
  },
  {
    on: afterBuild,
    pattern:
      /Cannot find module '(?<path>[./][^']*)'|ENOENT: no such file or directory, \w+ '(?<path2>[^']+)'/,
    check: (match) =>
      buildOutput({ ...match, groups: { path: match.groups['path'] ?? match.groups['path2'] ?? '' } }),
    reason: '{file}, which the build must create, is not in the release',
    hint: '{advice}',
  },
  {
    on: afterBuild,
    pattern: /Cannot find module '(?<module>[./][^']*)'/,
    check: (match) => {
      const { module = '' } = match.groups;
      return { file: (module.startsWith('/') ? pathInRelease(match, module) : undefined) ?? module };
    },
    reason: '{file} is not in the release',
    hint: 'Commit {file}, which .gitignore may exclude, or let the "build" script create the file.',
  },
  {
    on: afterBuild,
    pattern: /ENOENT: no such file or directory, \w+ '(?<path>(?:[^']*\/)?\.env[\w.]*)'/,
    reason: 'the app opens {path}, which is not in the release',
    hint: 'Set the variables with `sluice env set {app} --file .env`, and let the app read process.env if the file is missing.',
  },
  {
    on: ['boot'],
    pattern: /ENOENT: no such file or directory, \w+ '(?<file>[^/'][^']*)'/,
    check: isBesideCaller,
    reason: '{file} is not in the working directory, but in {package}',
    hint: 'Write {"directory": "{package}"} in sluice.json: Sluice then starts the app in this directory.',
  },
  {
    on: afterBuild,
    pattern: /ENOENT: no such file or directory, \w+ '(?<path>[^']+)'/,
    check: (match) => {
      const file = pathInRelease(match, match.groups['path']);
      return file === undefined ? undefined : { file };
    },
    reason: '{file} is not in the release',
    hint: 'Check whether .gitignore excludes {file}. If the app itself creates the file or directory, add it to "shared" in sluice.json.',
  },
  {
    on: ['build', 'install'],
    pattern:
      /(?:Module not found: (?:Error: )?)?(?:Cannot find (?:module|package)|Can't resolve|Could not resolve) ['"](?<module>[^'"]{1,200})['"]|ERR_MODULE_NOT_FOUND|Module not found: /,
    check: ({ groups: { module = 'a module' } }) => ({ module }),
    reason: 'the import of {module} finds no file',
    hint: 'Compare the import with the files in git: .gitignore may exclude the file, and Linux file names are case-sensitive.',
  },
];
