import type { KnownFailure, Match, Values } from '../diagnose.ts';
import { everywhere } from '../occasions.ts';

const commands = ['install', 'build', 'hook'] as const;

const reinstall =
  'Delete node_modules and the lockfile, install again, and commit the new lockfile: `rm -rf node_modules package-lock.json && npm install` (pnpm, yarn: with their own lockfile).';

/**
 * Failures because node_modules or the lockfile were made for another system. npm writes a lockfile that lacks the binaries
 * of other systems if node_modules existed already (npm/cli issue 4828).
 */
export const otherPlatform: KnownFailure[] = [
  {
    on: ['install'],
    pattern: /^npm (?:error|ERR!) Missing: (?<package>\S+) from lock file$/,
    check: ({ output }) => {
      const missing = output.filter((line) => line.includes(' Missing: '));
      const isBinary = (line: string) => /-(?:linux|darwin|win32|android|freebsd)\b/.test(line);
      return missing.every(isBinary) ? {} : undefined;
    },
    reason: 'the lockfile was made on another system and lacks binaries such as {package}',
    hint: reinstall,
  },
  {
    on: everywhere,
    pattern:
      /Cannot find module (?:@|'@)(?<package>(?:rollup\/rollup|rolldown\/binding|swc\/core|next\/swc|tailwindcss\/oxide|img\/sharp|esbuild\/|biomejs\/cli|parcel\/watcher|node-rs\/|napi-rs\/|oxc-\w+\/binding|libsql\/|unrs\/resolver-binding|resvg\/resvg-js|lmdb\/lmdb|rspack\/binding|nx\/nx)[\w./-]*linux[\w-]*)/,
    reason: 'the lockfile was made on another system and lacks @{package}',
    hint: reinstall,
  },
  {
    on: everywhere,
    pattern: /The package "(?<package>@esbuild\/linux[\w-]+)" could not be found/,
    reason: 'the lockfile was made on another system and lacks {package}',
    hint: reinstall,
  },
  {
    on: everywhere,
    pattern:
      /Cannot find module '[./]*(?<package>[\w-]+)[.-]linux-[\w.-]+\.node'|Tried (?<other>@parcel\/watcher-linux[\w-]+)/,
    reason: 'the lockfile was made on another system and lacks the Linux binary of {package}',
    check: ({ groups }) => ({ package: groups['package'] ?? '@parcel/watcher' }),
    hint: reinstall,
  },
  {
    on: everywhere,
    pattern:
      /Could not load the "(?<package>sharp)" module using the linux|Failed to load (?<swc>SWC) binary for linux|You installed (?<esbuild>esbuild) for another platform|Cannot find native binding\. npm has a bug|Error: Failed to load native binding/,
    reason: 'the lockfile was made on another system and lacks the Linux binary{of}',
    check: ({ groups }) => {
      const name = groups['package'] ?? groups['swc'] ?? groups['esbuild'];
      return { of: name === undefined ? ' of a package' : ` of ${name}` };
    },
    hint: reinstall,
  },
  {
    on: everywhere,
    pattern:
      /invalid ELF header|wrong ELF class|Exec format error|cannot execute binary file|file in wrong format|libc\.musl-\w+\.so\.1/,
    reason: 'a program or a native addon was built for another system or processor',
    hint: 'Do not commit node_modules: run `git rm -r --cached node_modules`, add it to .gitignore, and commit. Sluice installs the packages on the server.',
  },
  {
    on: everywhere,
    pattern: /was compiled against a different Node\.js version|Module did not self-register/,
    reason: 'a native addon was built for another version of Node.js',
    hint: 'Do not commit node_modules: run `git rm -r --cached node_modules`, add it to .gitignore, and commit. Sluice builds the addon for its Node.js.',
  },
  {
    on: everywhere,
    pattern: /version `(?<symbol>GLIBC(?:XX)?_[\d.]+)' not found/,
    reason: 'a binary needs a newer system than this server: {symbol} is missing',
    hint: 'Pin an older version of the package that the log names, or upgrade the distribution of the server.',
  },
];

/** Packages of Debian by header file, or by the name of a library for pkg-config. */
const developmentPackages: [pattern: RegExp, packages: string][] = [
  [
    /^(?:cairo|pango|pangocairo|pixman|gif_lib|jpeglib)/,
    'libcairo2-dev libpango1.0-dev libjpeg-dev libgif-dev librsvg2-dev',
  ],
  [/^vips/, 'libvips-dev'],
  [/^(?:libpq-fe|postgres)/, 'libpq-dev'],
  [/^sqlite3/, 'libsqlite3-dev'],
  [/^openssl/, 'libssl-dev'],
  [/^(?:gssapi|krb5)/, 'libkrb5-dev'],
  [/^(?:X11|x11)/, 'libx11-dev'],
  [/^(?:GL|gl|EGL)\b/, 'libgl1-mesa-dev'],
  [/^libudev/, 'libudev-dev'],
  [/^(?:libusb|usb)/, 'libusb-1.0-0-dev'],
  [/^libsecret/, 'libsecret-1-dev'],
  [/^alsa/, 'libasound2-dev'],
  [/^(?:zmq|libzmq)/, 'libzmq3-dev'],
  [/^pcap/, 'libpcap-dev'],
  [/^(?:systemd|libsystemd)/, 'libsystemd-dev'],
  [/^magic/, 'libmagic-dev'],
  [/^(?:unicode|icu)/, 'libicu-dev'],
  [/^sasl/, 'libsasl2-dev'],
  [/^ldap/, 'libldap-dev'],
];

function developmentPackage({ groups }: Match): Values | undefined {
  const name = groups['header'] ?? groups['library'] ?? '';
  const packages = developmentPackages.find(([pattern]) => pattern.test(name))?.[1];
  return packages === undefined ? undefined : { name, packages };
}

/** Failures to compile a native addon. Each row needs the words of the tool that is missing, not those of node-gyp alone. */
export const compilation: KnownFailure[] = [
  {
    on: commands,
    pattern: /No module named '(?:distutils|setuptools)/,
    reason: 'an old node-gyp needs a module that Python 3.12 no longer has',
    hint: 'Install it on the server (Debian: `apt-get install python3-setuptools`), or update the package that is built.',
  },
  {
    on: commands,
    pattern: /Can't find Python executable|gyp ERR! .*\bpython2\b/,
    check: ({ output }) => (output.some((line) => line.includes('node-sass')) ? undefined : {}),
    reason: 'an old node-gyp needs Python 2, which Debian and Ubuntu no longer have',
    hint: 'Update the package that is built, which the log names, and commit the lockfile.',
  },
  {
    on: commands,
    pattern: /gyp ERR! find Python|Could not find any Python installation/,
    reason: 'a native addon is compiled, and Python is missing on the server',
    hint: 'Install Python on the server (Debian: `apt-get install python3 build-essential`).',
  },
  {
    on: commands,
    pattern:
      /^(?:npm (?:error|ERR!) )?gyp ERR! .*\bnot found: make\b|^make(?:\[\d+\])?: (?<program>g\+\+|gcc|cc|c\+\+|clang\+\+): (?:No such file|not found|Permission denied)|^\S+: (?:(?:line )?\d+: )?(?<program2>make|g\+\+|gcc|cc|cmake): (?:command )?not found$/,
    reason: 'a native addon is compiled, and {program} is missing on the server',
    check: ({ groups }) => ({ program: groups['program'] ?? groups['program2'] ?? 'make' }),
    hint: 'Install the compiler on the server (Debian: `apt-get install build-essential python3`; for cmake also `cmake`).',
  },
  {
    on: commands,
    pattern: /^\S+: (?:(?:line )?\d+: )?node-gyp: (?:command )?not found$|\bspawn node-gyp ENOENT/,
    reason: 'node-gyp is missing',
    hint: 'Add it to the app and commit the lockfile: `npm install --save-dev node-gyp`.',
  },
  {
    on: commands,
    pattern:
      /^\S+: (?:(?:line )?\d+: )?(?<program>node-gyp-build|prebuild-install|node-pre-gyp|prebuildify|cmake-js|napi-postinstall): (?:command )?not found$/,
    reason: 'an install script needs {program}, which is missing',
    hint: 'Add it to the app and commit the lockfile: `npm install {program}`.',
  },
  {
    on: commands,
    pattern:
      /^(?=gyp ERR! |npm (?:error|ERR!) gyp ERR! ).*(?:status code downloading (?:\S+ )?headers|nodejs\.org\/(?:download|dist)|headers\.tar\.gz|getaddrinfo|ECONNREFUSED|ETIMEDOUT)|^npm (?:error|ERR!) gyp http GET https:\/\/nodejs\.org/,
    reason: 'the headers of Node.js, which a native addon needs, could not be downloaded',
    hint: 'Let the server reach nodejs.org, or set the directory of a Node.js with headers: sluice env set {app} npm_config_nodedir=/usr',
  },
  {
    on: commands,
    pattern: /fatal error: (?<header>[\w./+-]+): No such file or directory/,
    check: developmentPackage,
    reason: 'a native addon needs {name}, which is missing on the server',
    hint: 'Install it on the server (Debian: `apt-get install {packages}`).',
  },
  {
    on: commands,
    pattern: /Package '?(?<library>[\w.+-]+)'?(?:, required by '[^']{1,100}',)? (?:was )?not found/,
    check: developmentPackage,
    reason: 'a native addon needs {name}, which is missing on the server',
    hint: 'Install it on the server (Debian: `apt-get install pkg-config {packages}`).',
  },
  {
    on: commands,
    pattern: /pkg-config: (?:command )?not found/,
    reason: 'a native addon is compiled, and pkg-config is missing on the server',
    hint: 'Install it on the server (Debian: `apt-get install pkg-config`).',
  },
  {
    on: commands,
    pattern: /node-sass|Node Sass does not yet support/i,
    check: ({ output }) =>
      output.some((line) => /gyp ERR!|does not yet support/.test(line)) ? {} : undefined,
    reason: 'node-sass, which is no longer maintained, does not support this Node.js',
    hint: 'Replace it and commit: `npm uninstall node-sass && npm install --save-dev sass`.',
  },
  {
    on: commands,
    pattern:
      /^(?=.*\berror: ).*(?:[‘'"]?(?:class )?v8::|\bnode::|Nan::|NAN_|has no member named|is not a member of ['‘]?v8|is deprecated and will be removed)|"C\+\+(?:17|20|23)? or later required/,
    check: ({ output }) =>
      output.some((line) => /gyp (?:ERR!|info)|node-gyp|\.target\.mk/.test(line)) ? {} : undefined,
    reason: 'the source of a native addon is too old for this version of Node.js',
    hint: 'Update the package, or name an older Node.js in package.json: "engines": {"node": "20"}.',
  },
  {
    on: commands,
    pattern: /gyp ERR!/,
    reason: 'a native addon could not be built',
    hint: 'The lines with `error:` in the build log name the cause. Most often the package is too old for this Node.js: update it, or name an older Node.js in package.json: "engines": {"node": "20"}.',
  },
];

/** Packages of Debian by shared library. */
const libraryPackages: [pattern: RegExp, packages: string][] = [
  [
    /^lib(?:nss3|nspr4|atk|atspi|cups|gbm|drm|xkbcommon|Xcomposite|Xdamage|Xfixes|Xrandr|asound|pango|dbus|gtk|X11|Xext|xcb)\b|^lib(?:atk|pango|gtk|atspi)-/,
    'chromium',
  ],
  [/^libcairo/, 'libcairo2 libpango-1.0-0 libpangocairo-1.0-0'],
  [/^libvips/, 'libvips42'],
  [/^libatomic/, 'libatomic1'],
  [/^libGL\./, 'libgl1'],
  [/^libcrypt\.so\.1/, 'libcrypt1'],
  [/^libfontconfig/, 'libfontconfig1'],
  [/^libfreetype/, 'libfreetype6'],
  [/^libglib-2/, 'libglib2.0-0'],
  [/^libjpeg/, 'libjpeg62-turbo'],
  [/^libgif/, 'libgif7'],
  [/^librsvg/, 'librsvg2-2'],
  [/^libpq/, 'libpq5'],
  [/^libgomp/, 'libgomp1'],
  [/^libudev/, 'libudev1'],
  [/^libcurl\./, 'libcurl4'],
  [/^libsecret/, 'libsecret-1-0'],
  [/^libaio/, 'libaio1'],
];

const library =
  /(?:error while loading shared libraries: |Error: |^)(?<library>lib[\w.+-]+\.so[\w.]*): cannot open shared object file/;

/** Failures to load a native library of the system. */
export const libraries: KnownFailure[] = [
  {
    on: everywhere,
    pattern:
      /lib(?:ssl|crypto)\.so\.(?:1\.1|1\.0\.\d|10)\b.*(?:cannot open|not found|No such file)|(?:unable to require|Unable to load).*libssl/,
    reason: 'a binary needs OpenSSL 1.1, which Debian 12 and Ubuntu 22.04 no longer have',
    hint: 'Update the package that the log names: its newer versions use OpenSSL 3 (Prisma: version 4.8 or later).',
  },
  {
    on: everywhere,
    pattern: library,
    check: ({ groups }) => {
      const packages = libraryPackages.find(([pattern]) => pattern.test(groups['library'] ?? ''))?.[1];
      return packages === undefined ? undefined : { packages };
    },
    reason: 'the library {library} is missing on the server',
    hint: 'Install it on the server (Debian: `apt-get install {packages}`).',
  },
  {
    on: everywhere,
    pattern: library,
    reason: 'the library {library} is missing on the server',
    hint: 'Find the package that has it, and install this package on the server (Debian: `apt-file search {library}`).',
  },
  {
    on: everywhere,
    pattern: /Could not find (?:Chrome|Chromium) \(ver\. /,
    reason: 'Puppeteer finds no browser',
    hint: 'Install a browser on the server (Debian: `apt-get install chromium`) and name it: sluice env set {app} PUPPETEER_EXECUTABLE_PATH=/usr/bin/chromium',
  },
  {
    on: everywhere,
    pattern:
      /Executable doesn't exist at .*(?:ms-playwright|chromium|firefox|webkit)|Please run the following command to download new browsers/,
    reason: 'Playwright finds no browser',
    hint: 'Download the browser with the packages: set PLAYWRIGHT_BROWSERS_PATH=0 with `sluice env set {app}`, and in sluice.json "hooks": {"postBuild": "npx playwright install chromium"}.',
  },
];
