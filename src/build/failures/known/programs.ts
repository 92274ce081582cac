import type { KnownFailure } from '../diagnose.ts';
import { everywhere } from '../occasions.ts';
import {
  hasWindowsLines,
  isDevProgram,
  isNotExecutable,
  isNotInRelease,
  packageOfProgram,
  runsWindowsLines,
} from '../release-files.ts';

const windowsLines = {
  on: everywhere,
  hint: 'Convert it and commit: `sed -i "s/\\r$//" {file}`. To keep it so, add the line `*.sh text eol=lf` to .gitattributes.',
};

/** Packages of Debian by program. */
const systemPrograms: Record<string, string> = {
  python: 'python-is-python3',
  python3: 'python3',
  pip: 'python3-pip',
  git: 'git',
  curl: 'curl',
  wget: 'wget',
  zip: 'zip',
  unzip: 'unzip',
  rsync: 'rsync',
  jq: 'jq',
  bash: 'bash',
  openssl: 'openssl',
  ffmpeg: 'ffmpeg',
  ffprobe: 'ffmpeg',
  convert: 'imagemagick',
  magick: 'imagemagick',
  gm: 'graphicsmagick',
  gs: 'ghostscript',
  pdftotext: 'poppler-utils',
  sqlite3: 'sqlite3',
  psql: 'postgresql-client',
  pg_dump: 'postgresql-client',
  mysql: 'default-mysql-client',
  mysqldump: 'default-mysql-client',
  'redis-cli': 'redis-tools',
  envsubst: 'gettext-base',
  xz: 'xz-utils',
  bzip2: 'bzip2',
  java: 'default-jre-headless',
  php: 'php-cli',
  ruby: 'ruby',
  go: 'golang-go',
  cargo: 'cargo',
  rustc: 'cargo',
  make: 'build-essential',
  perl: 'perl',
  tar: 'tar',
  gzip: 'gzip',
  file: 'file',
  wkhtmltopdf: 'wkhtmltopdf',
  chromium: 'chromium',
  hugo: 'hugo',
  exiftool: 'libimage-exiftool-perl',
};

/** Message of a shell about a program: `sh: 1: vite: not found`, `bash: line 1: vite: command not found`, yarn's own shell. */
const notFound =
  /^[^\s:]+: (?:(?:line )?\d+: )?(?<program>[^\s:]+): (?:command )?not found$|^command not found: (?<program2>\S+)$|\bspawn (?<program3>[^\s/]+) ENOENT/;
const program = (groups: Record<string, string>) =>
  groups['program'] ?? groups['program2'] ?? groups['program3'] ?? '';

/** Words of bash that sh does not know. */
const bashWords = new Set(['[[', 'source', 'shopt', 'pushd', 'popd', 'declare', 'function']);
/** Commands of Windows, with those of Linux. */
const windowsCommands: Record<string, string> = {
  copy: 'cp',
  xcopy: 'cp -r',
  robocopy: 'cp -r',
  move: 'mv',
  del: 'rm',
  cls: 'clear',
  powershell: 'sh',
  'powershell.exe': 'sh',
  'cmd.exe': 'sh',
};

/** Failures to run a program or a script, and programs that reject their arguments. */
export const programFailures: KnownFailure[] = [
  {
    on: everywhere,
    pattern: /^[^\s:]+: (?:line )?\d+: (?<file>(?:\S*\/)?node_modules\/\.bin\/[^\s:]+): Permission denied$/,
    reason: '{file} is not executable',
    hint: 'Do not commit node_modules: run `git rm -r --cached node_modules`, add it to .gitignore, and commit. Sluice installs the packages on the server.',
  },
  {
    on: everywhere,
    pattern:
      /^[^\s:]+: (?:(?:line )?\d+: )?(?<file>[^\s:]+): Permission denied$|\bspawn (?<spawned>\S+) EACCES/,
    check: (match) =>
      isNotExecutable({
        ...match,
        groups: { file: match.groups['file'] ?? match.groups['spawned'] ?? '' },
      }),
    reason: '{file} is not executable',
    hint: 'Set its exec bit and commit: `git update-index --chmod=+x {file}`.',
  },
  {
    on: everywhere,
    pattern: /^[^\s:]+: (?:(?:line )?\d+: )?(?<program>[^\s:]+): Permission denied$/,
    check: ({ groups }) => (groups['program']?.includes('/') ? undefined : {}),
    reason: 'the program {program} is not executable',
    hint: 'Do not commit node_modules: run `git rm -r --cached node_modules`, add it to .gitignore, and commit. Sluice installs the packages on the server.',
  },
  {
    ...windowsLines,
    pattern:
      /^[^\s:]+: (?:(?:line )?\d+: )?(?<file>[^\s:]+): (?:not found|cannot execute: required file not found)$|^(?<script>[^\s:]+): (?:line )?\d+: /,
    check: (match) =>
      hasWindowsLines({ ...match, groups: { file: match.groups['file'] ?? match.groups['script'] ?? '' } }),
    reason: '{file} has Windows line endings (CRLF), which Linux shells do not understand',
  },
  {
    ...windowsLines,
    pattern:
      /(?:\\r|\^M|\r).{0,3}: (?:No such file|bad interpreter|command not found)|^: (?:not found|bad interpreter)/,
    check: runsWindowsLines,
    reason: '{file} has Windows line endings (CRLF), which Linux shells do not understand',
  },
  {
    ...windowsLines,
    pattern: /(?:\\r|\^M|\r).{0,3}: (?:No such file|bad interpreter|command not found)/,
    reason: 'a script has Windows line endings (CRLF), which Linux shells do not understand',
    hint: 'Add the line `*.sh text eol=lf` to .gitattributes, run `git add --renormalize .`, and commit.',
  },
  {
    on: everywhere,
    pattern:
      /^[^\s:]+: (?:(?:line )?\d+: )?(?<file>[^\s:]*\/[^\s:]*): (?:not found|No such file or directory)$|^[^\s:]+: \d+: cannot open (?<script>[^\s:]+): No such file/,
    check: (match) =>
      isNotInRelease({ ...match, groups: { file: match.groups['file'] ?? match.groups['script'] ?? '' } }),
    reason: '{file} is not in the release',
    hint: 'Check whether .gitignore excludes {file}, and commit it.',
  },
  {
    on: everywhere,
    pattern: /^[^\s:]+: (?:line )?\d+: cd: (?:can't cd to (?<folder>\S+)|(?<folder2>[^\s:]+): No such file)/,
    check: ({ groups }) => ({ folder: groups['folder'] ?? groups['folder2'] ?? '' }),
    reason: 'the directory {folder} is not in the release',
    hint: 'Check whether .gitignore or `export-ignore` excludes {folder}, and commit its files. Git stores no empty directory.',
  },
  {
    on: everywhere,
    pattern: /^[^\s:]+: (?:(?:line )?\d+: )?(?<word>\S+): not found$/,
    check: ({ groups }) => (bashWords.has(groups['word'] ?? '') ? {} : undefined),
    reason: 'sh runs a script that needs bash: {word}',
    hint: 'Let npm run scripts with bash: commit an .npmrc with the line `script-shell=bash`. Or run the script with `bash FILE`.',
  },
  {
    on: everywhere,
    pattern: /^[^\s:]+: (?:(?:line )?\d+: )?(?<word>[\w.]+): not found$/,
    check: ({ groups: { word = '' } }) =>
      Object.hasOwn(windowsCommands, word) ? { linux: windowsCommands[word] ?? '' } : undefined,
    reason: '{word} is a command of Windows',
    hint: 'Write the command of Linux in package.json: `{linux}`. On Windows, the package shx provides such commands.',
  },
  {
    on: everywhere,
    pattern: /No gulpfile found|Unable to find (?<file>Gruntfile)|No (?<file2>Makefile|makefile) found/,
    check: ({ groups }) => ({ file: groups['file'] ?? groups['file2'] ?? 'gulpfile' }),
    reason: 'the {file} is not in the release',
    hint: 'Check whether .gitignore excludes the {file}, and commit it.',
  },
  {
    on: everywhere,
    pattern: /(?:^|: )husky: (?:command )?not found$|^husky - (?:\.git can't be found|not a git repository)/,
    reason: 'husky, which manages git hooks, does not run on a server',
    hint: 'Write the script in package.json as "prepare": "husky || true", and commit.',
  },
  {
    on: everywhere,
    pattern: /fatal: not a git repository/,
    reason: 'a command needs the git repository, and a release has only its files',
    hint: 'Use the variable SLUICE_COMMIT, which has the commit, in place of git.',
  },
  {
    on: ['hook', 'boot'],
    pattern: notFound,
    check: (match) => isDevProgram({ ...match, groups: { program: program(match.groups) } }),
    reason: '{package} is a dev dependency, which Sluice removes after the build',
    hint: 'Move {package} to "dependencies" in package.json, or keep dev dependencies with "build": {"prune": false} in sluice.json.',
  },
  {
    on: everywhere,
    pattern: notFound,
    check: ({ groups }) => {
      const name = program(groups);
      const debian = Object.hasOwn(systemPrograms, name) ? systemPrograms[name] : undefined;
      return debian === undefined ? undefined : { program: name, debian };
    },
    reason: 'the program {program} is missing on the server',
    hint: 'Install it on the server (Debian: `apt-get install {debian}`).',
  },
  {
    on: everywhere,
    pattern: notFound,
    check: (match) => packageOfProgram({ ...match, groups: { program: program(match.groups) } }),
    reason: 'the program {program} is not installed',
    hint: 'Run `npm install --save-dev {package}` and commit the lockfile, or install {program} on the server.',
  },
  {
    on: everywhere,
    pattern: /: bad option: (?<option>\S+)$|: (?<option2>--?\S+) is not allowed in NODE_OPTIONS$/,
    check: ({ groups }) => ({ option: groups['option'] ?? groups['option2'] ?? '' }),
    reason: 'this version of Node.js does not know the option {option}',
    hint: 'Remove {option} from the command and from NODE_OPTIONS, or name the version of Node.js that has it in package.json: "engines": {"node": "20"}.',
  },
  {
    on: everywhere,
    pattern:
      /^(?:\S+ )?(?:error|Error|CACError|TypeError \[ERR_PARSE_ARGS_UNKNOWN_OPTION\]|ArgError)?:? ?[Uu]n(?:known|recognized|expected)(?: or unexpected)? (?:option|argument|arguments|command line option|flag)s?:? ?[`'"]?(?<option>-{0,2}[\w-]{1,60})/,
    reason: 'the program does not know the option {option}',
    hint: 'Remove {option} from the command: the installed version of the program lacks it. Or add the version that has it to package.json.',
  },
];
