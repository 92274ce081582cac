import assert from 'node:assert/strict';
import { test } from 'node:test';
import { diagnose } from '../../src/build/failures.ts';

/** Output of package managers and compilers, by reason. */
const installs: Record<string, string[]> = {
  'the lockfile does not match package.json': [
    'npm error `npm ci` can only install packages when your package.json and package-lock.json or npm-shrinkwrap.json are in sync. Please update your lock file with `npm install` before continuing.',
    ' ERR_PNPM_OUTDATED_LOCKFILE  Cannot install with "frozen-lockfile" because pnpm-lock.yaml is not up to date with <ROOT>/package.json',
    'error Your lockfile needs to be updated, but yarn was run with `--frozen-lockfile`.',
    '➤ YN0028: │ The lockfile would have been modified by this install, which is explicitly forbidden.',
  ],
  'dependencies have install scripts that are not allowed': [
    '[ERR_PNPM_IGNORED_BUILDS] Ignored build scripts: esbuild@0.25.0',
  ],
  'peer dependencies conflict': ['npm error code ERESOLVE', 'npm ERR! code ERESOLVE'],
  'the registry refused access to a package': [
    'npm error code E401',
    ' ERR_PNPM_FETCH_403  GET https://npm.example/@acme%2Fui: Forbidden - 403',
    '➤ YN0041: │ @acme/ui@npm:1.0.0: Invalid authentication (as an anonymous user)',
  ],
  'the registry does not have a package, or not this version': [
    'npm error code ETARGET',
    'npm error code E404',
    ' ERR_PNPM_NO_MATCHING_VERSION  No matching version found for ms@99.0.0',
    'error Couldn\'t find any versions for "ms" that matches "99.0.0"',
    '➤ YN0082: │ ms@npm:99.0.0: No candidates found',
  ],
  'a package requires another version of Node.js or of the package manager': [
    'error x@1.0.0: The engine "node" is incompatible with this module. Expected version "4". Got "26.10.0"',
  ],
  'the disk is full': ['npm error code ENOSPC'],
  'a native addon could not be built': ['gyp ERR! find Python'],
  'a file system is read-only': ["npm error EROFS: read-only file system, mkdir '/home/x/node_modules'"],
  "a registry's certificate is not valid at the time of this server's clock": [
    'npm error code CERT_NOT_YET_VALID',
    'error An unexpected error occurred: "https://npm.example/ms: certificate has expired".',
  ],
  'this server does not trust the certificate authority of a registry or a proxy': [
    'npm error code SELF_SIGNED_CERT_IN_CHAIN',
    ' ERR_PNPM_META_FETCH_FAIL  GET https://npm.example/ms: unable to get local issuer certificate',
  ],
  'the name of a registry was not found': [
    'npm error network request to https://npm.example/ms failed, reason: getaddrinfo ENOTFOUND npm.example',
    'npm error code EAI_AGAIN',
  ],
  'this server has no route to a registry': ['npm error code ENETUNREACH'],
  'a registry does not answer, or closes the connection': [
    'npm error code ECONNREFUSED',
    ' ERR_PNPM_META_FETCH_FAIL  GET https://npm.example/ms: request failed',
  ],
};

const builds: Record<string, string[]> = {
  'memory ran out': ['FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory'],
  'a program is missing': ['sh: 1: tsc: not found', 'bash: line 1: vite: command not found'],
  'a module is missing': [
    "Error: Cannot find module './Config'",
    "Module not found: Can't resolve './Config'",
  ],
  'TypeScript found errors': [
    "src/main.ts(3,7): error TS2322: Type 'string' is not assignable to type 'number'.",
  ],
};

for (const [what, cases] of [
  ['install', installs],
  ['build', builds],
] as const) {
  for (const [reason, lines] of Object.entries(cases)) {
    test(`${what}: the error says that ${reason}`, () => {
      for (const line of lines) {
        const output = ['> before', line, '> after'];
        assert.equal(diagnose(what, output)?.reason, reason, line);
        assert.deepEqual(diagnose(what, output)?.excerpt, output);
        assert.notEqual(diagnose(what, output)?.hint, '');
      }
    });
  }
}

test('warnings and the output of a build are not the reason of a failure', () => {
  assert.equal(
    diagnose('install', [
      'npm warn EBADENGINE Unsupported engine {',
      'npm warn ERESOLVE overriding peer dependency',
    ]),
    undefined,
  );
  assert.equal(diagnose('build', ['connect ECONNREFUSED 127.0.0.1:5432']), undefined);
});

test('the excerpt of a long output has the lines around the reason', () => {
  const output = Array.from({ length: 100 }, (_, index) =>
    index === 50 ? 'gyp ERR! stack' : `line ${index}`,
  );
  const { excerpt = [] } = diagnose('install', output) ?? {};
  assert.deepEqual(
    [excerpt[0], excerpt[3], excerpt.at(-1), excerpt.length],
    ['line 47', 'gyp ERR! stack', 'line 58', 12],
  );
});
