// biome-ignore-all lint/suspicious/noTemplateCurlyInString: configuration of package managers names variables in this way.
import assert from 'node:assert/strict';
import { totalmem } from 'node:os';
import { test } from 'node:test';
import { diagnose, quoted } from '../../src/build/failures/diagnose.ts';
import { isWorthQuoting } from '../../src/build/failures/noise.ts';
import type { Occasion } from '../../src/build/failures/occasions.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { writeTree } from '../support/tree.ts';

/** Output of a tool, the reason, and a part of the hint: the one thing to do. */
type Row = [output: string, reason: string, hint: string | RegExp];

const lockfile = 'Run the install on your machine and commit the new lockfile.';
const reinstall = 'rm -rf node_modules package-lock.json && npm install';
const noCommit = 'git rm -r --cached node_modules';

const installs: Row[] = [
  [
    'npm error `npm ci` can only install packages when your package.json and package-lock.json or npm-shrinkwrap.json are in sync. Please update your lock file with `npm install` before continuing.\nnpm error Missing: @rollup/rollup-linux-x64-gnu@4.40.0 from lock file\nnpm error Missing: @rollup/rollup-win32-x64-msvc@4.40.0 from lock file',
    'the lockfile was made on another system and lacks binaries such as @rollup/rollup-linux-x64-gnu@4.40.0',
    reinstall,
  ],
  [
    'npm error `npm ci` can only install packages when your package.json and package-lock.json or npm-shrinkwrap.json are in sync. Please update your lock file with `npm install` before continuing.\nnpm error Missing: @rollup/rollup-linux-x64-gnu@4.40.0 from lock file\nnpm error Missing: ms@2.1.3 from lock file',
    'the lockfile does not match package.json',
    lockfile,
  ],
  [
    'npm error `npm ci` can only install packages when your package.json and package-lock.json or npm-shrinkwrap.json are in sync. Please update your lock file with `npm install` before continuing.',
    'the lockfile does not match package.json',
    lockfile,
  ],
  [
    ' ERR_PNPM_OUTDATED_LOCKFILE  Cannot install with "frozen-lockfile" because pnpm-lock.yaml is not up to date with <ROOT>/package.json',
    'the lockfile does not match package.json',
    lockfile,
  ],
  [
    'error Your lockfile needs to be updated, but yarn was run with `--frozen-lockfile`.',
    'the lockfile does not match package.json',
    lockfile,
  ],
  [
    '➤ YN0028: │ The lockfile would have been modified by this install, which is explicitly forbidden.',
    'the lockfile does not match package.json',
    lockfile,
  ],
  [
    ' ERR_PNPM_LOCKFILE_BREAKING_CHANGE  Lockfile /app/pnpm-lock.yaml not compatible with current pnpm',
    'this version of pnpm cannot read the lockfile',
    '"packageManager": "pnpm@VERSION"',
  ],
  [
    '[ERR_PNPM_IGNORED_BUILDS] Ignored build scripts: esbuild@0.25.0',
    'dependencies have install scripts that are not allowed',
    'pnpm approve-builds',
  ],
  [
    '**ERROR** Failed to apply patch for package ms at path',
    'a patch does not fit the installed version of its package',
    'Make the patch again',
  ],
  ['npm error code ERESOLVE', 'peer dependencies conflict', 'legacy-peer-deps=true'],
  ['npm ERR! code ERESOLVE', 'peer dependencies conflict', 'commit the lockfile'],
  [
    'npm error code EOVERRIDE',
    '"overrides" in package.json contradicts a direct dependency',
    'the same version',
  ],
  [
    'npm error code E401',
    'the registry refused access to a package',
    'sluice env set shop --build NPM_TOKEN=…',
  ],
  [
    'error: GET https://npm.example/@acme%2fui - 401',
    'the registry refused access to a package',
    'sluice env set',
  ],
  [
    'error Error: Failed to replace env in config: ${ACME_TOKEN}',
    'the configuration of the package manager names ACME_TOKEN, and the variable is not set',
    '`sluice env set shop --build ACME_TOKEN=…`',
  ],
  [
    'Usage Error: Environment variable not found (ACME_TOKEN) in /app/.yarnrc.yml (in /app/.yarnrc.yml)',
    'the configuration of the package manager names ACME_TOKEN, and the variable is not set',
    '`sluice env set shop --build ACME_TOKEN=…`',
  ],
  [
    ' WARN  Issue while reading "/app/.npmrc". Failed to replace env in config: ${ACME_TOKEN}\n ERR_PNPM_FETCH_404  GET https://npm.example/@acme%2Fui: Not Found - 404',
    'the configuration of the package manager names ACME_TOKEN, and the variable is not set',
    '`sluice env set shop --build ACME_TOKEN=…`',
  ],
  [
    ' ERR_PNPM_FETCH_403  GET https://npm.example/@acme%2Fui: Forbidden - 403',
    'the registry refused access to a package',
    'sluice env set',
  ],
  [
    '➤ YN0041: │ @acme/ui@npm:1.0.0: Invalid authentication (as an anonymous user)',
    'the registry refused access to a package',
    'sluice env set',
  ],
  ['npm error code ETARGET', 'the registry does not have a package, or not this version', 'name and version'],
  ['npm error code E404', 'the registry does not have a package, or not this version', 'name and version'],
  [
    'error: GET https://npm.example/ms/-/ms-9.0.0.tgz - 404',
    'the registry does not have a package, or not this version',
    'name and version',
  ],
  [
    'error An unexpected error occurred: "https://npm.example/ms/-/ms-9.0.0.tgz: Request failed \\"404 Not Found\\"".',
    'the registry does not have a package, or not this version',
    'name and version',
  ],
  [
    ' ERR_PNPM_NO_MATCHING_VERSION  No matching version found for ms@99.0.0',
    'the registry does not have a package, or not this version',
    'name and version',
  ],
  [
    'error Couldn\'t find any versions for "ms" that matches "99.0.0"',
    'the registry does not have a package, or not this version',
    'name and version',
  ],
  [
    '➤ YN0082: │ ms@npm:99.0.0: No candidates found',
    'the registry does not have a package, or not this version',
    'name and version',
  ],
  [
    'error x@1.0.0: The engine "node" is incompatible with this module. Expected version ">=14 <17". Got "26.8.2"',
    'a package requires another version of Node.js',
    '"engines": {"node": ">=14 <17"}',
  ],
  [
    'npm error code EBADENGINE',
    'a package requires another version of Node.js or of the package manager',
    'Correct "engines" or "devEngines" in package.json',
  ],
  [
    'npm error notsup Unsupported platform for fsevents@2.3.3: wanted {"os":"darwin"} (current: {"os":"linux","cpu":"x64"})',
    'a dependency does not support this system',
    'Move fsevents@2.3.3 from "dependencies" to "optionalDependencies"',
  ],
  [
    'npm error Unsupported URL Type "workspace:": workspace:*',
    'npm does not support the protocol "workspace:" in package.json',
    '"packageManager"',
  ],
  ['npm error code EJSONPARSE', 'package.json or the lockfile is not valid JSON', '<<<<<<<'],
  [
    'npm error git@git.example: Permission denied (publickey).',
    'a dependency comes from a private git repository, and the server has no access',
    'git+https://TOKEN@',
  ],
  [
    'npm error ssh: Could not resolve hostname github.com: Name or service not known',
    'a dependency comes from a git repository on github.com, but the server cannot resolve this host name',
    'getent hosts github.com',
  ],
  [
    "npm error fatal: unable to access 'https://github.com/owner/name.git/': Could not resolve host: github.com",
    'a dependency comes from a git repository on github.com, but the server cannot resolve this host name',
    'getent hosts github.com',
  ],
  ['npm error syscall spawn git', 'git is missing on the server', 'apt-get install git'],
  [
    'Error: ERROR: Failed to set up Chrome v131.0.6778.204! Set "PUPPETEER_SKIP_DOWNLOAD" env variable to skip download.',
    'the browser of Puppeteer could not be downloaded',
    'sluice env set shop PUPPETEER_SKIP_DOWNLOAD=1',
  ],
  ['npm error code ENOSPC', 'the disk is full', 'du -xm / | sort -n | tail'],
  [
    "npm error EROFS: read-only file system, mkdir '/home/x/node_modules'",
    'a file system is read-only',
    'Let the command write to the release or to TMPDIR',
  ],
  [
    'npm error code CERT_NOT_YET_VALID',
    "a registry's certificate is not valid at the time of this server's clock",
    '`date`',
  ],
  [
    'error An unexpected error occurred: "https://npm.example/ms: certificate has expired".',
    "a registry's certificate is not valid at the time of this server's clock",
    '`date`',
  ],
  [
    'npm error code SELF_SIGNED_CERT_IN_CHAIN',
    'this server does not trust the certificate authority of a registry or a proxy',
    'NODE_EXTRA_CA_CERTS',
  ],
  [
    ' ERR_PNPM_META_FETCH_FAIL  GET https://npm.example/ms: unable to get local issuer certificate',
    'this server does not trust the certificate authority of a registry or a proxy',
    'NODE_EXTRA_CA_CERTS',
  ],
  [
    "➤ YN0001: │   fatal: unable to access 'https://github.com/electron/node-gyp.git/': Could not resolve host: github.com",
    'a dependency comes from a git repository on github.com, but the server cannot resolve this host name',
    'getent hosts github.com',
  ],
  [
    'npm error network request to https://npm.example/ms failed, reason: getaddrinfo ENOTFOUND npm.example',
    'the name of a registry was not found',
    'resolv.conf',
  ],
  [
    'npm error path /app/node_modules/driver\nnpm error command failed\nnpm error command sh -c node ./download.js\nnpm error Error: getaddrinfo ENOTFOUND files.example',
    'the install script of a package cannot resolve the host name files.example',
    'HTTPS_PROXY',
  ],
  [
    'node_modules/driver postinstall: Error: getaddrinfo ENOTFOUND files.example',
    'the install script of a package cannot resolve the host name files.example',
    'HTTPS_PROXY',
  ],
  ['npm error code EAI_AGAIN', 'the name of a registry was not found', 'resolv.conf'],
  ['npm error code ENETUNREACH', 'this server has no route to a registry', 'ip route'],
  [
    'npm error code EINTEGRITY',
    'a package does not match its checksum in the lockfile',
    'write the lockfile again and commit it: `rm -rf node_modules package-lock.json && npm install`',
  ],
  ['npm error code E429', 'the rate limit of the registry is reached', 'some minutes'],
  ['npm error code ECONNREFUSED', 'a registry does not answer, or closes the connection', 'Try again'],
  [
    ' ERR_PNPM_META_FETCH_FAIL  GET https://npm.example/ms: request failed',
    'a registry does not answer, or closes the connection',
    'Try again',
  ],

  // node-gyp, make and compilers
  [
    'gyp ERR! stack Error: Can\'t find Python executable "python", you can set the PYTHON env variable.',
    'an old node-gyp needs Python 2, which Debian and Ubuntu no longer have',
    'Update the package',
  ],
  [
    'npm error gyp info spawn make\nnpm error ../../nan/nan_callbacks.h:55:23: error: ‘AccessorSignature’ is not a member of ‘v8’\nnpm error gyp ERR! build error',
    'the source of a native addon is too old for this version of Node.js',
    '"engines": {"node": "20"}',
  ],
  [
    'npm error Package pixman-1 was not found in the pkg-config search path.\nnpm error gyp ERR! configure error',
    'a native addon needs pixman-1, which is missing on the server',
    'libcairo2-dev',
  ],
  [
    'gyp ERR! find Python \ngyp ERR! find Python Python is not set from command line or npm configuration',
    'a native addon is compiled, and Python is missing on the server',
    'apt-get install python3',
  ],
  [
    'npm error gyp ERR! stack Error: not found: make',
    'a native addon is compiled, and make is missing on the server',
    'build-essential',
  ],
  [
    'make: g++: No such file or directory\ngyp ERR! build error',
    'a native addon is compiled, and g++ is missing on the server',
    'build-essential',
  ],
  ['sh: 1: node-gyp: not found', 'node-gyp is missing', 'npm install --save-dev node-gyp'],
  [
    'sh: 1: node-gyp-build: not found',
    'an install script needs node-gyp-build, which is missing',
    'npm install node-gyp-build',
  ],
  [
    "ModuleNotFoundError: No module named 'distutils'\ngyp ERR! configure error",
    'an old node-gyp needs a module that Python 3.12 no longer has',
    'python3-setuptools',
  ],
  [
    'gyp http GET https://nodejs.org/download/release/v26.8.2/node-v26.8.2-headers.tar.gz\ngyp ERR! stack FetchError: request to https://nodejs.org/download/release/v26.8.2/node-v26.8.2-headers.tar.gz failed, reason: getaddrinfo ENOTFOUND nodejs.org',
    'the headers of Node.js, which a native addon needs, could not be downloaded',
    'npm_config_nodedir',
  ],
  [
    'gyp ERR! stack Error: 404 status code downloading headers',
    'the headers of Node.js, which a native addon needs, could not be downloaded',
    'npm_config_nodedir',
  ],
  [
    "gyp info spawn make\n../../nan/nan.h:686:39: error: 'class v8::ArrayBuffer::Contents' has no member named 'Data'\ngyp ERR! build error",
    'the source of a native addon is too old for this version of Node.js',
    '"engines": {"node": "20"}',
  ],
  [
    'gyp info ok\n/x/node.h:1:2: error: #error "C++20 or later required."\ngyp ERR! build error',
    'the source of a native addon is too old for this version of Node.js',
    '"engines": {"node": "20"}',
  ],
  [
    '../src/backend/Backend.h:3:10: fatal error: cairo.h: No such file or directory\ngyp ERR! build error',
    'a native addon needs cairo.h, which is missing on the server',
    'libcairo2-dev',
  ],
  [
    "Package 'pangocairo', required by 'virtual:world', not found\ngyp ERR! configure error",
    'a native addon needs pangocairo, which is missing on the server',
    'libpango1.0-dev',
  ],
  [
    '/bin/sh: 1: pkg-config: not found\ngyp ERR! configure error',
    'a native addon is compiled, and pkg-config is missing on the server',
    'apt-get install pkg-config',
  ],
  [
    'npm error path /app/node_modules/node-sass\nnpm error gyp ERR! build error',
    'node-sass, which is no longer maintained, does not support this Node.js',
    'npm install --save-dev sass',
  ],
  [
    'gyp ERR! build error \ngyp ERR! stack Error: `make` failed with exit code: 2',
    'a native addon could not be built',
    'too old for this Node.js',
  ],
];

const builds: Row[] = [
  [
    'FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory',
    'memory ran out',
    `sluice env set shop NODE_OPTIONS=--max-old-space-size=${Math.floor((totalmem() / 1024 ** 2) * 0.75)}`,
  ],
  ['Next.js build worker exited with code: null and signal: SIGKILL', 'most likely memory ran out', 'dmesg'],
  ['sh: 1: tsc: not found', 'the program tsc is not installed', 'npm install --save-dev typescript'],
  [
    'bash: line 1: vite: command not found',
    'the program vite is not installed',
    'npm install --save-dev vite',
  ],
  ['command not found: astro', 'the program astro is not installed', 'npm install --save-dev astro'],
  ['sh: 1: zip: not found', 'the program zip is missing on the server', 'apt-get install zip'],
  ['Error: spawn ffmpeg ENOENT', 'the program ffmpeg is missing on the server', 'apt-get install ffmpeg'],
  [
    'sh: 1: husky: not found',
    'husky, which manages git hooks, does not run on a server',
    '"prepare": "husky || true"',
  ],
  [
    'fatal: not a git repository (or any of the parent directories): .git',
    'a command needs the git repository, and a release has only its files',
    'SLUICE_COMMIT',
  ],
  [
    'sh: 1: ./node_modules/.bin/vite: Permission denied',
    './node_modules/.bin/vite is not executable',
    noCommit,
  ],
  ['sh: 1: vite: Permission denied', 'the program vite is not executable', noCommit],
  [
    'npm error Missing script: "build:css"',
    'package.json has no script "build:css"',
    'Add the script "build:css"',
  ],
  [
    ' ERR_PNPM_NO_SCRIPT  Missing script: build:css',
    'package.json has no script "build:css"',
    'Add the script "build:css"',
  ],

  ["sh: 1: cd: can't cd to client", 'the directory client is not in the release', '.gitignore'],
  [
    'bash: line 1: cd: client: No such file or directory',
    'the directory client is not in the release',
    '.gitignore',
  ],
  ['sh: 1: [[: not found', 'sh runs a script that needs bash: [[', 'script-shell=bash'],
  ['sh: 1: xcopy: not found', 'xcopy is a command of Windows', '`cp -r`'],
  ['[12:00:00] No gulpfile found', 'the gulpfile is not in the release', '.gitignore'],
  [
    "Type error: Property 'x' does not exist on type 'y'.",
    'TypeScript found errors',
    'Run `npm run build` on your machine',
  ],
  ['✖ 3 problems (2 errors, 1 warning)', 'ESLint found errors', 'Run `npm run build` on your machine'],
  [
    "Error: Cannot find module 'C:\\Users\\ann\\x.js'",
    'the release has files with a path of the Windows machine that made them',
    noCommit,
  ],

  // Options
  [
    '/opt/node/bin/node: bad option: --no-such-flag',
    'this version of Node.js does not know the option --no-such-flag',
    'Remove --no-such-flag',
  ],
  [
    '/opt/node/bin/node: --expose-gc-foo is not allowed in NODE_OPTIONS',
    'this version of Node.js does not know the option --expose-gc-foo',
    'NODE_OPTIONS',
  ],
  ["error: unknown option '--prot'", 'the program does not know the option --prot', 'Remove --prot'],
  ['Unknown argument: prot', 'the program does not know the option prot', 'Remove prot'],
  ['CACError: Unknown option `--prot`', 'the program does not know the option --prot', 'Remove --prot'],
  [
    "TypeError [ERR_PARSE_ARGS_UNKNOWN_OPTION]: Unknown option '--prot'",
    'the program does not know the option --prot',
    'Remove --prot',
  ],
  [
    'error: unknown or unexpected option: --hostname',
    'the program does not know the option --hostname',
    'Remove --hostname',
  ],

  // Binaries of another platform
  [
    'Error: Cannot find module @rollup/rollup-linux-x64-gnu. npm has a bug related to optional dependencies (https://github.com/npm/cli/issues/4828). Please try `npm i` again after removing both package-lock.json and node_modules directory.',
    'the lockfile was made on another system and lacks @rollup/rollup-linux-x64-gnu',
    reinstall,
  ],
  [
    "  cause: Error: Cannot find module '@tailwindcss/oxide-linux-x64-gnu'",
    'the lockfile was made on another system and lacks @tailwindcss/oxide-linux-x64-gnu',
    reinstall,
  ],
  [
    'Error: The package "@esbuild/linux-x64" could not be found, and is needed by esbuild.',
    'the lockfile was made on another system and lacks @esbuild/linux-x64',
    reinstall,
  ],
  [
    "Error: Cannot find module '../lightningcss.linux-x64-gnu.node'",
    'the lockfile was made on another system and lacks the Linux binary of lightningcss',
    reinstall,
  ],
  [
    "    Error: Cannot find module './swc.linux-x64-gnu.node'",
    'the lockfile was made on another system and lacks the Linux binary of swc',
    reinstall,
  ],
  [
    'Error: Could not load the "sharp" module using the linux-x64 runtime',
    'the lockfile was made on another system and lacks the Linux binary of sharp',
    reinstall,
  ],
  [
    'Error: Cannot find native binding. npm has a bug related to optional dependencies (https://github.com/npm/cli/issues/4828).',
    'the lockfile was made on another system and lacks the Linux binary of a package',
    reinstall,
  ],
  [
    "Error: No prebuild or local build of @parcel/watcher found. Tried @parcel/watcher-linux-x64-glibc. Please ensure it is installed (don't use --no-optional when installing with npm).",
    'the lockfile was made on another system and lacks the Linux binary of @parcel/watcher',
    reinstall,
  ],
  [
    'Error: /app/node_modules/bcrypt/lib/binding/bcrypt_lib.node: invalid ELF header',
    'a program or a native addon was built for another system or processor',
    noCommit,
  ],
  [
    'was compiled against a different Node.js version using',
    'a native addon was built for another version of Node.js',
    noCommit,
  ],
  [
    "/lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found (required by /app/node_modules/x/x.node)",
    'a binary needs a newer system than this server: GLIBC_2.38 is missing',
    'Pin an older version',
  ],

  // Node.js
  [
    "  code: 'ERR_OSSL_EVP_UNSUPPORTED'",
    'the app uses MD4, as webpack 4 does, which OpenSSL 3 refuses',
    'sluice env set shop NODE_OPTIONS=--openssl-legacy-provider',
  ],
  [
    'ReferenceError: primordials is not defined',
    'an old graceful-fs (gulp 3) does not run on Node.js 12 or later',
    'Update gulp',
  ],
  [
    "SyntaxError: Unexpected identifier 'assert'",
    'the syntax `assert { type: "json" }` was removed in Node.js 22',
    '"engines": {"node": "20"}',
  ],
  [
    'You are using Node.js 18.12.0. Vite requires Node.js version 20.19+ or 22.12+. Please upgrade your Node.js version.',
    'a program requires another version of Node.js: >=20.19',
    '"engines": {"node": ">=20.19"}',
  ],
  [
    'You are using Node.js 18.12.0. For Next.js, Node.js version ">=20.9.0" is required.',
    'a program requires another version of Node.js: >=20.9.0',
    '"engines": {"node": ">=20.9.0"}',
  ],
  [
    'The Angular CLI requires a minimum Node.js version of v20.19 or v22.12.',
    'a program requires another version of Node.js: v20.19',
    '"engines": {"node": "v20.19"}',
  ],

  // Modules and types
  ["Error: Cannot find module './Config'", 'the import of ./Config finds no file', 'case-sensitive'],
  ["Module not found: Can't resolve './Config'", 'the import of ./Config finds no file', 'case-sensitive'],
  [
    "src/app.ts(1,19): error TS2307: Cannot find module 'express' or its corresponding type declarations.",
    'express is not installed',
    'Run `npm install express` and commit',
  ],
  [
    '[vite]: Rollup failed to resolve import "@acme/ui/button" from "/app/src/main.ts".',
    '@acme/ui is not installed',
    'Run `npm install @acme/ui` and commit',
  ],
  [
    "src/main.ts(3,7): error TS2322: Type 'string' is not assignable to type 'number'.",
    'TypeScript found errors',
    'Run `npm run build` on your machine',
  ],
  [
    "error TS2688: Cannot find type definition file for 'node'.",
    'the types @types/node are missing',
    'npm install --save-dev @types/node',
  ],
  [
    'Error: @prisma/client did not initialize yet. Please run "prisma generate" and try to import it again.',
    'the Prisma client is not generated',
    '"postinstall": "prisma generate"',
  ],
  [
    'Treating warnings as errors because process.env.CI = true.',
    'the build treats warnings as errors, because the variable CI is set',
    'Set CI to false: sluice env set shop CI=false',
  ],
  [
    "[Error: Could not find a production build in the '.next' directory. Try building your app with 'next build' before starting the production server.",
    'Next.js finds no build in .next',
    '"build": "next build"',
  ],
  [
    'Failed to fetch `Inter` from Google Fonts.',
    'the build needs a server that cannot be reached',
    'HTTPS_PROXY',
  ],
  [
    'Error: connect ECONNREFUSED 127.0.0.1:5432',
    'PostgreSQL does not answer on this server (127.0.0.1:5432)',
    'DATABASE_URL=',
  ],
  [
    "Using 'pg' driver for database querying\n[⣷] applying migrations...",
    'drizzle-kit could not migrate the database',
    'sluice env set shop DATABASE_URL=',
  ],
];

const boots: Row[] = [
  [
    'file:///app/src/server.ts:1\nSyntaxError [ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX]: TypeScript enum is not supported in strip-only mode',
    'Node.js runs TypeScript only if it can erase the types, and enum must be transformed',
    'node --import tsx src/server.ts',
  ],
  [
    'SyntaxError [ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX]: TypeScript enum is not supported in strip-only mode',
    'Node.js runs TypeScript only if it can erase the types, and enum must be transformed',
    'node --import tsx',
  ],
  [
    'SyntaxError [ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX]: TypeScript parameter property is not supported in strip-only mode',
    'Node.js runs TypeScript only if it can erase the types, and parameter property must be transformed',
    'node --import tsx',
  ],
  [
    '/app/src/app.ts:2\n@Module({})\nSyntaxError: Invalid or unexpected token',
    'Node.js runs TypeScript only if it can erase the types, and decorators must be transformed',
    'node --import tsx',
  ],
  [
    'TypeError [ERR_UNKNOWN_FILE_EXTENSION]: Unknown file extension ".tsx" for /app/y.tsx',
    'Node.js does not run files with the file extension .tsx',
    'node --import tsx',
  ],
  [
    "Error [ERR_MODULE_NOT_FOUND]: Cannot find module '/app/src/db' imported from /app/src/index.ts",
    'an import lacks the file extension .ts, which Node.js needs',
    'node --import tsx',
  ],
  [
    "Error [ERR_MODULE_NOT_FOUND]: Cannot find package '@/lib' imported from /app/dist/index.js",
    'the path alias of @/lib is not known at run time',
    'tsc-alias',
  ],
  [
    "Error [ERR_UNSUPPORTED_DIR_IMPORT]: Directory import '/app/dist/lib' is not supported resolving ES modules imported from /app/dist/index.js",
    'an import names a directory, or lacks the file extension .js, which ES modules need',
    './lib/index.js',
  ],
  [
    'Error [ERR_REQUIRE_ESM]: require() of ES Module /app/node_modules/chalk/source/index.js from /app/index.js not supported.',
    'require() loads an ES module, which this version of Node.js does not support',
    '"engines": {"node": ">=22"}',
  ],
  [
    'Error [ERR_REQUIRE_ASYNC_MODULE]: require() cannot be used on an ESM graph with top-level await.',
    'require() loads an ES module with a top-level await, which only import() can load',
    'await import(',
  ],
  [
    'ReferenceError: require is not defined in ES module scope, you can use import instead',
    'a CommonJS file is loaded as an ES module',
    '.cjs',
  ],
  [
    'SyntaxError: Cannot use import statement outside a module',
    'an ES module is loaded as CommonJS',
    '"type": "module"',
  ],
  [
    'TypeError [ERR_IMPORT_ATTRIBUTE_MISSING]: Module "file:///app/package.json" needs an import attribute of "type: json"',
    'an import of JSON lacks its type',
    'with { type: "json" }',
  ],
  [
    "localStorage.getItem('x')\nTypeError: Cannot read properties of undefined (reading 'getItem')",
    'Node.js has a global `localStorage` since version 25, and the app takes the server for a browser',
    '--no-experimental-webstorage',
  ],
  [
    'Error [ERR_UNKNOWN_BUILTIN_MODULE]: No such built-in module: node:sqlite',
    'this version of Node.js does not have node:sqlite',
    '"engines": {"node": ">=24"}',
  ],

  // Modules and files
  ["Error: Cannot find module 'express'", 'express is not installed', 'Run `npm install express` and commit'],
  ["Error: Cannot find module '/app/server.js'", 'server.js is not in the release', 'Commit server.js'],
  [
    "Error: Cannot find module '/app/dist/main.js'",
    'dist/main.js, which the build must create, is not in the release',
    'Add a "build" script',
  ],
  [
    "Error: Cannot find module '.prisma/client/default'",
    'the Prisma client is not generated',
    '"postinstall": "prisma generate"',
  ],
  [
    'Error: Please install mysql2 package manually',
    'the driver mysql2 of the database is not installed',
    'npm install mysql2',
  ],
  [
    "Error: ENOENT: no such file or directory, open '/app/.env'",
    'the app opens /app/.env, which is not in the release',
    'sluice env set shop --file .env',
  ],
  [
    "Error: ENOENT: no such file or directory, scandir '/app/locales'",
    'locales is not in the release',
    '.gitignore',
  ],
  [
    "Error: EACCES: permission denied, mkdir '/data'",
    'the app is not allowed to write /data, or /data does not exist',
    '"shared"',
  ],
  [
    "Error: EACCES: permission denied, open '/app/cache/x.json'",
    'the app is not allowed to write cache/x.json',
    '"shared"',
  ],
  [
    "Error: EROFS: read-only file system, mkdir '/usr/share/x'",
    'the app writes to a read-only file system',
    '"shared"',
  ],
  [
    'Error: listen EACCES: permission denied 0.0.0.0:80',
    'the app is not allowed to open port 80',
    'process.env.PORT',
  ],
  [
    'Error: listen EADDRINUSE: address already in use :::3000',
    'the app opens port 3000, which is in use',
    'process.env.PORT',
  ],
  ['Error: bind EADDRINUSE 0.0.0.0:5353', 'the old release still has a UDP port', '"overlap": false'],
  [
    'Error: IO error: lock /app/data/LOCK: already held by process',
    'the old release has locked the files of the database',
    '"overlap": false',
  ],
  [
    'SqliteError: SQLITE_BUSY: database is locked',
    'the old release seems to have a lock',
    '"overlap": false',
  ],
  ['Error: the bot is already running (pid 812)', 'the old release seems to have a lock', '"overlap": false'],
  [
    "Error: ENOSPC: System limit for number of file watchers reached, watch '/app/src'",
    'it watches more files than the system allows',
    'production command',
  ],

  [
    'Error: listen EADDRNOTAVAIL: address not available 10.1.2.3:9001',
    'the app listens on 10.1.2.3:9001, which this server does not have',
    'without a host',
  ],
  [
    'RangeError [ERR_SOCKET_BAD_PORT]: options.port should be >= 0 and < 65536. Received type number (NaN).',
    'the app listens on a port that is not a number',
    'process.env.PORT',
  ],
  [
    'ReferenceError: Bun is not defined',
    'the app uses the API of Bun, and Sluice runs apps on Node.js',
    'node:sqlite',
  ],
  [
    "Error [ERR_UNSUPPORTED_ESM_URL_SCHEME]: Only URLs with a scheme in: file, data, and node are supported by the default ESM loader. Received protocol 'bun:'",
    'the app uses the API of Bun, and Sluice runs apps on Node.js',
    'node:sqlite',
  ],
  [
    'Error: error:1E08010C:DECODER routines::unsupported',
    'a private key cannot be read: most often the line ends in its variable are written as \\n',
    'cat key.pem',
  ],

  // Libraries
  [
    '/root/.cache/puppeteer/chrome/linux-131/chrome: error while loading shared libraries: libnss3.so: cannot open shared object file: No such file or directory',
    'the library libnss3.so is missing on the server',
    'apt-get install chromium',
  ],
  [
    'Error: libvips-cpp.so.42: cannot open shared object file: No such file or directory',
    'the library libvips-cpp.so.42 is missing on the server',
    'apt-get install libvips42',
  ],
  [
    'Error: libfoo.so.1: cannot open shared object file: No such file or directory',
    'the library libfoo.so.1 is missing on the server',
    'apt-file search libfoo.so.1',
  ],
  [
    'error while loading shared libraries: libssl.so.1.1: cannot open shared object file: No such file or directory',
    'a binary needs OpenSSL 1.1, which Debian 12 and Ubuntu 22.04 no longer have',
    'OpenSSL 3',
  ],
  [
    'Error: Could not find Chrome (ver. 131.0.6778.204). This can occur if either',
    'Puppeteer finds no browser',
    'PUPPETEER_EXECUTABLE_PATH=/usr/bin/chromium',
  ],

  // Services
  [
    'Error: connect ECONNREFUSED 127.0.0.1:5432',
    'PostgreSQL does not answer on this server (127.0.0.1:5432)',
    'apt-get install postgresql',
  ],
  [
    'MongooseServerSelectionError: connect ECONNREFUSED ::1:27017',
    'MongoDB does not answer on this server (::1:27017)',
    'sluice env set shop MONGODB_URI=',
  ],
  [
    'Error: connect ECONNREFUSED 127.0.0.1:6379',
    'Redis does not answer on this server (127.0.0.1:6379)',
    'REDIS_URL=',
  ],
  ['Error: connect ECONNREFUSED 10.0.0.5:8123', 'no program answers at 10.0.0.5:8123', 'sluice env set shop'],
  [
    "PrismaClientInitializationError: Can't reach database server at `db:5432`",
    'the database at db:5432 does not answer',
    'DATABASE_URL=',
  ],
  [
    'Error: getaddrinfo ENOTFOUND postgres',
    'the host postgres is not known; such names exist in docker compose',
    '127.0.0.1',
  ],
  [
    'error: password authentication failed for user "app"',
    'the database refuses the user or the password',
    'DATABASE_URL=',
  ],
  [
    'Error: SASL: SCRAM-SERVER-FIRST-MESSAGE: client password must be a string',
    'the database refuses the user or the password',
    'DATABASE_URL=',
  ],
  ['error: database "shop" does not exist', 'the database shop does not exist', 'createdb shop'],
  ['error: relation "users" does not exist', 'the database lacks users', '"preSwitch"'],
  ['SqliteError: no such table: users', 'the database lacks users', '"preSwitch"'],

  // Variables, as the libraries report them
  [
    '================================\n \u001b[33mMissing\u001b[0m environment variables:\n    \u001b[34mAPI_KEY\u001b[0m: undefined\n    \u001b[34mDATABASE_URL\u001b[0m: undefined',
    'API_KEY, DATABASE_URL are not set',
    'sluice env set shop API_KEY=… DATABASE_URL=…',
  ],
  [
    'ZodError: [\n  {\n    "expected": "string",\n    "code": "invalid_type",\n    "path": [\n      "API_KEY"\n    ],',
    'API_KEY is not set',
    'sluice env set shop API_KEY=…',
  ],
  [
    "❌ Invalid environment variables: [\n  {\n    path: [ 'API_KEY' ],\n  },\n  {\n    path: [ 'DATABASE_URL' ],",
    'API_KEY, DATABASE_URL are not set',
    'sluice env set shop API_KEY=… DATABASE_URL=…',
  ],
  [
    'EnvVarError: env-var: "API_KEY" is a required variable, but it was not set',
    'API_KEY is not set',
    'sluice env set shop API_KEY=…',
  ],
  [
    'MissingEnvVarsError: The following variables were defined in .env.example but are not present in the environment:\n  API_KEY, DATABASE_URL',
    'API_KEY, DATABASE_URL are not set',
    'API_KEY=… DATABASE_URL=…',
  ],
  [
    'Error: Config validation error: "API_KEY" is required. "DATABASE_URL" is required',
    'API_KEY, DATABASE_URL are not set',
    'API_KEY=… DATABASE_URL=…',
  ],
  ["Error: env must have required property 'API_KEY'", 'API_KEY is not set', 'sluice env set shop API_KEY=…'],
  [
    'error: Environment variable not found: DATABASE_URL.',
    'DATABASE_URL is not set',
    'sluice env set shop DATABASE_URL=…',
  ],
  ['Error: DATABASE_URL is not set', 'DATABASE_URL is not set', 'sluice env set shop DATABASE_URL=…'],
  ['Error: Missing required env var STRIPE_KEY', 'STRIPE_KEY is not set', 'sluice env set shop STRIPE_KEY=…'],
  [
    'Error: secretOrPrivateKey must have a value',
    'the app signs tokens or sessions, and its secret is not set',
    'openssl rand',
  ],
  [
    "TypeError: Invalid URL\n  code: 'ERR_INVALID_URL',\n  input: 'undefined'",
    'the app reads a URL from a variable that is not set',
    'sluice env set shop',
  ],
];

const occasions: [Occasion, Row[]][] = [
  ['install', installs],
  ['build', builds],
  ['boot', boots],
];

function diagnoseIn(directory: string, occasion: Occasion, output: string[], command = '') {
  return diagnose({ occasion, app: 'shop', directory, command, output, besideLive: true });
}

for (const [occasion, rows] of occasions) {
  for (const [output, reason, hint] of rows) {
    test(`${occasion}: ${reason}: ${output.slice(0, 60).split('\n', 1)[0]}`, async () => {
      const found = await diagnoseIn('/app', occasion, ['> before', ...output.split('\n'), '> after']);
      assert.equal(found?.reason, reason);
      if (typeof hint === 'string') assert.ok(found?.hint.includes(hint), found?.hint);
      assert.doesNotMatch(found?.hint ?? '{', /\{\w+\}/);
    });
  }
}

test('warnings and other output are not the reason of a failure', async () => {
  const harmless: [Occasion, string][] = [
    ['install', 'npm warn EBADENGINE Unsupported engine {'],
    ['install', 'npm warn ERESOLVE overriding peer dependency'],
    ['build', "  12:3  error  'MY_CONSTANT' is not defined  no-undef"],
    ['boot', 'ReferenceError: MY_CONSTANT is not defined'],
    ['boot', 'Server is ready'],
    ['boot', 'Error: JSON is required'],
    ['build', 'warning: Unknown browserslist entry'],
  ];
  for (const [occasion, line] of harmless)
    assert.equal(await diagnoseIn('/app', occasion, [line]), undefined, line);
});

test('the quoted lines of a long output are those around the reason', async () => {
  const output = Array.from({ length: 100 }, (_, index) =>
    index === 50 ? 'gyp ERR! stack' : `line ${index}`,
  );
  const found = await diagnoseIn('/app', 'install', output);
  const lines = quoted(output, found?.at);
  assert.deepEqual(
    [lines[0], lines[3], lines.at(-1), lines.length],
    ['line 47', 'gyp ERR! stack', 'line 58', 12],
  );
});

test('lines that package managers and Node.js add to every failure are not quoted', () => {
  const output = [
    'src/app.js:3',
    '    throw new Error("no");',
    '    ^',
    '',
    'Error: no',
    '    at Module._compile (node:internal/modules/cjs/loader:1:1)',
    'Node.js v26.8.2',
    'npm error Lifecycle script `build` failed with error:',
    'npm error code 1',
    'npm error A complete log of this run can be found in: /root/.npm/_logs/x.log',
    'Progress: resolved 740, reused 164, downloaded 575, added 725',
    '++++++++++',
    'npm warn deprecated request@2.88.2: request has been deprecated',
    'npm error code E404',
  ];
  assert.deepEqual(output.filter(isWorthQuoting), [
    'src/app.js:3',
    '    throw new Error("no");',
    'Error: no',
    'npm error code E404',
  ]);
});

test('a script is named that has no exec bit, Windows line endings, or is missing', async (t) => {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, {
    'scripts/build.sh': '#!/bin/sh\necho built\n',
    'scripts/windows.sh': '#!/bin/sh\r\nset -e\r\n',
  });
  const rows: [string, string, string][] = [
    [
      'sh: 1: ./scripts/build.sh: Permission denied',
      'scripts/build.sh is not executable',
      'git update-index --chmod=+x scripts/build.sh',
    ],
    [
      'Error: spawn ./scripts/build.sh EACCES',
      'scripts/build.sh is not executable',
      'git update-index --chmod=+x scripts/build.sh',
    ],
    [
      'sh: 1: ./scripts/windows.sh: not found',
      'scripts/windows.sh has Windows line endings (CRLF), which Linux shells do not understand',
      'sed -i "s/\\r$//" scripts/windows.sh',
    ],
    [
      'scripts/windows.sh: 2: set: Illegal option -',
      'scripts/windows.sh has Windows line endings (CRLF), which Linux shells do not understand',
      'scripts/windows.sh',
    ],
    [
      ': invalid option\nscripts/windows.sh: line 8: syntax error: unexpected end of file',
      'scripts/windows.sh has Windows line endings (CRLF), which Linux shells do not understand',
      'scripts/windows.sh',
    ],
    [
      '> ./scripts/windows.sh\n/usr/bin/env: ‘bash\\r’: No such file or directory',
      'scripts/windows.sh has Windows line endings (CRLF), which Linux shells do not understand',
      'scripts/windows.sh',
    ],
    [
      '/usr/bin/env: ‘bash\\r’: No such file or directory',
      'a script has Windows line endings (CRLF), which Linux shells do not understand',
      'git add --renormalize',
    ],
    ['sh: 1: ./scripts/none.sh: not found', 'scripts/none.sh is not in the release', '.gitignore'],
    [
      'sh: 0: cannot open scripts/none.sh: No such file',
      'scripts/none.sh is not in the release',
      '.gitignore',
    ],
  ];
  for (const [output, reason, hint] of rows) {
    const found = await diagnoseIn(directory, 'build', output.split('\n'));
    assert.equal(found?.reason, reason, output);
    assert.ok(found?.hint.includes(hint), found?.hint);
  }
});

test('a variable that the committed .env has is set from this file', async (t) => {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, { '.env': 'export API_KEY=1\nGREETING=hello\n' });
  for (const name of ['API_KEY', 'GREETING']) {
    const found = await diagnoseIn(directory, 'boot', [`Error: ${name} is not set`]);
    assert.equal(found?.reason, `${name} is not set, because Sluice does not read the file .env`);
    assert.equal(found?.hint, 'Set the variables: sluice env set shop --file .env');
  }
  const other = await diagnoseIn(directory, 'boot', ['Error: FAREWELL is not set']);
  assert.equal(other?.hint, 'Set the value: sluice env set shop FAREWELL=…');
});

test('a module that differs from its file in case is named', async (t) => {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, { 'src/config.ts': '', 'src/app.ts': '' });
  const rows = [
    `Error: Cannot find module './Config'\nRequire stack:\n- ${directory}/src/app.ts`,
    `Error [ERR_MODULE_NOT_FOUND]: Cannot find module '${directory}/src/Config.ts' imported from ${directory}/src/app.ts`,
    `Module not found: Error: Can't resolve './Config' in '${directory}/src'`,
    'Could not resolve "./Config" from "src/app.ts"',
    "src/app.ts(1,20): error TS2307: Cannot find module './Config' or its corresponding type declarations.",
  ];
  for (const output of rows) {
    const found = await diagnoseIn(directory, 'build', output.split('\n'));
    assert.match(
      found?.reason ?? '',
      /the import of src\/Config(?:\.ts)? and the file src\/config\.ts differ in case; Linux file names are case-sensitive/,
      output,
    );
  }
});

test('a file of a workspace member that the app opens in the working directory is found', async (t) => {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, {
    'apps/web/package.json': {},
    'apps/web/view.html': '',
    'apps/web/src/server.js': '',
    'top.html': '',
  });
  const at = (path: string) => `    at Server.<anonymous> (${directory}/${path}:1:97)`;
  const diagnosed = (file: string, caller: string) =>
    diagnoseIn(directory, 'boot', [
      `Error: ENOENT: no such file or directory, open '${file}'`,
      '  errno: -2,',
      at(caller),
    ]);
  const found = await diagnosed('view.html', 'apps/web/src/server.js');
  assert.equal(found?.reason, 'view.html is not in the working directory, but in apps/web');
  assert.match(found?.hint ?? '', /^Write \{"directory": "apps\/web"\} in sluice\.json/);
  for (const [file, caller] of [
    ['missing.html', 'apps/web/src/server.js'],
    ['view.html', 'server.js'],
  ] as const) {
    assert.match((await diagnosed(file, caller))?.reason ?? '', /html is not in the release$/);
  }
});

test('a dev dependency that was removed after the build is named', async (t) => {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, {
    'package.json': JSON.stringify({
      devDependencies: { '@acme/ui': '1', typescript: '5' },
      scripts: { build: 'tsc' },
    }),
  });
  const boot = await diagnoseIn(directory, 'boot', [
    "Error: Cannot find package '@acme/ui' imported from /x",
  ]);
  assert.equal(boot?.reason, '@acme/ui is a dev dependency, which Sluice removes after the build');
  assert.match(boot?.hint ?? '', /Move @acme\/ui to "dependencies".*"build": \{"prune": false\}/);
  const hook = await diagnoseIn(directory, 'hook', ['/bin/sh: 1: tsc: not found']);
  assert.equal(hook?.reason, 'typescript is a dev dependency, which Sluice removes after the build');
  const output = await diagnoseIn(directory, 'boot', [
    `Error: Cannot find module '${directory}/dist/main.js'`,
  ]);
  assert.match(output?.hint ?? '', /The "build" script, `tsc`, must create dist\/main\.js/);
});
