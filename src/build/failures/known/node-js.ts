import type { KnownFailure, Match, Values } from '../diagnose.ts';
import { everywhere } from '../occasions.ts';
import { pathInRelease } from '../release-files.ts';

const loader =
  'Compile it in the "build" script and start the JavaScript. Or run it through tsx: `npm install tsx`, and "start": "node --import tsx {file}" in sluice.json.';

/** Returns the first TypeScript file of the release that the output names as `{file}`. */
function sourceFile(match: Match): Values {
  const named = match.output.map((line) => /^(?:file:\/\/)?(\/\S+\.[cm]?[jt]sx?):\d+$/.exec(line)?.[1]);
  const files = named.map((path) => pathInRelease(match, path)).filter((path) => path !== undefined);
  return { file: files[0] ?? 'FILE' };
}

/** Failures because of the language, the module system and the version of Node.js. */
export const nodeFailures: KnownFailure[] = [
  {
    on: everywhere,
    pattern: /ERR_OSSL_EVP_UNSUPPORTED|digital envelope routines::(?:unsupported|initialization error)/,
    reason: 'the app uses MD4, as webpack 4 does, which OpenSSL 3 refuses',
    hint: 'Allow it, and deploy again: sluice env set {app} NODE_OPTIONS=--openssl-legacy-provider',
  },
  {
    on: everywhere,
    pattern:
      /ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX\]?: (?:TypeScript )?(?<what>.{1,80}?) (?:is|are) not supported/,
    check: sourceFile,
    reason: 'Node.js runs TypeScript only if it can erase the types, and {what} must be transformed',
    hint: loader,
  },
  {
    on: everywhere,
    pattern: /ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX|ERR_INVALID_TYPESCRIPT_SYNTAX/,
    check: sourceFile,
    reason: 'Node.js runs TypeScript only if it can erase the types, and this file must be transformed',
    hint: loader,
  },
  {
    on: everywhere,
    pattern: /^SyntaxError: Invalid or unexpected token/,
    check: (match) => {
      const { output, at } = match;
      const before = output.slice(Math.max(0, at - 6), at);
      const isTypeScript = before.some((line) => /\.[cm]?ts:\d+$/.test(line));
      return isTypeScript && before.some((line) => /^\s*@\w/.test(line)) ? sourceFile(match) : undefined;
    },
    reason: 'Node.js runs TypeScript only if it can erase the types, and decorators must be transformed',
    hint: loader,
  },
  {
    on: everywhere,
    pattern: /ERR_UNSUPPORTED_NODE_MODULES_TYPE_STRIPPING/,
    check: sourceFile,
    reason:
      'a package in node_modules is written in TypeScript, which Node.js runs only outside node_modules',
    hint: loader,
  },
  {
    on: everywhere,
    pattern: /Unknown file extension "(?<extension>\.\w+)"/,
    check: sourceFile,
    reason: 'Node.js does not run files with the file extension {extension}',
    hint: loader,
  },
  {
    on: everywhere,
    pattern: /Cannot find module '[^']+' imported from (?<importer>\S+\.[cm]?tsx?)$/,
    check: (match) =>
      /Cannot find module '[^']*\/[^'/.]+' imported/.test(match.output[match.at] ?? '')
        ? sourceFile(match)
        : undefined,
    reason: 'an import lacks the file extension .ts, which Node.js needs',
    hint: `Write the file extension in each import: \`import x from './x.ts'\`. ${loader}`,
  },
  {
    on: everywhere,
    pattern:
      /Cannot find (?:module|package) '(?<module>[@~]\/[^']*|#[^']+)'|(?:Could not resolve|Can't resolve) ["'](?<other>[@~]\/[^"']+)/,
    check: ({ groups }) => ({ module: groups['module'] ?? groups['other'] ?? '' }),
    reason: 'the path alias of {module} is not known at run time',
    hint: 'Aliases of tsconfig.json exist only for the compiler. Add `tsc-alias` to the "build" script, or start through tsx: "start": "node --import tsx FILE" in sluice.json.',
  },
  {
    on: everywhere,
    pattern: /ERR_UNSUPPORTED_DIR_IMPORT|Did you mean to import ["'][^"']+\.js["']/,
    reason: 'an import names a directory, or lacks the file extension .js, which ES modules need',
    hint: 'Write the whole path, such as `./lib/index.js`, in each import. With TypeScript, set "module": "nodenext" in tsconfig.json to find them all.',
  },
  {
    on: everywhere,
    pattern: /ERR_REQUIRE_ASYNC_MODULE/,
    reason: 'require() loads an ES module with a top-level await, which only import() can load',
    hint: 'Load the module with `await import(…)`, or start an ES module: "type": "module" in package.json.',
  },
  {
    on: everywhere,
    pattern: /ERR_REQUIRE_ESM/,
    reason: 'require() loads an ES module, which this version of Node.js does not support',
    hint: 'Name a newer Node.js in package.json: "engines": {"node": ">=22"}.',
  },
  {
    on: everywhere,
    pattern: /\b(?<name>require|exports|module|__dirname|__filename) is not defined in ES module scope/,
    reason: 'a CommonJS file is loaded as an ES module',
    hint: 'Rename the file to end in .cjs, or remove "type": "module" from package.json.',
  },
  {
    on: everywhere,
    pattern: /Cannot use import statement outside a module|^SyntaxError: Unexpected token 'export'/,
    reason: 'an ES module is loaded as CommonJS',
    hint: 'Add "type": "module" to package.json, or rename the file to end in .mjs.',
  },
  {
    on: everywhere,
    pattern: /Unexpected identifier 'assert'/,
    reason: 'the syntax `assert { type: "json" }` was removed in Node.js 22',
    hint: 'Write `with { type: "json" }`, or name an older Node.js in package.json: "engines": {"node": "20"}.',
  },
  {
    on: everywhere,
    pattern: /ERR_IMPORT_ATTRIBUTE_MISSING/,
    reason: 'an import of JSON lacks its type',
    hint: 'Write `import x from "./x.json" with { type: "json" }`.',
  },
  {
    on: everywhere,
    pattern:
      /ReferenceError: (?<name>Bun|Deno) is not defined|Received protocol '(?<protocol>bun|deno|jsr):'/,
    check: ({ groups: { name = '', protocol = '' } }) => ({
      runtime: name || (protocol === 'bun' ? 'Bun' : 'Deno'),
    }),
    reason: 'the app uses the API of {runtime}, and Sluice runs apps on Node.js',
    hint: 'Use the packages of Node.js in its place, such as `node:sqlite` or `express`.',
  },
  {
    on: everywhere,
    pattern: /DECODER routines::unsupported|Failed to parse private key/,
    reason: 'a private key cannot be read: most often the line ends in its variable are written as \\n',
    hint: 'Set the variable from the file: sluice env set {app} NAME="$(cat key.pem)"',
  },
  {
    on: everywhere,
    pattern: /primordials is not defined/,
    reason: 'an old graceful-fs (gulp 3) does not run on Node.js 12 or later',
    hint: 'Update gulp to version 4 or later, and commit the lockfile.',
  },
  {
    on: everywhere,
    pattern: /ERR_PACKAGE_PATH_NOT_EXPORTED/,
    reason: 'a package imports a file that another package no longer has in its "exports"',
    hint: 'Update both packages that the log names to versions that fit together, and commit the lockfile.',
  },
  {
    on: everywhere,
    pattern: /No such built-in module: (?<module>node:\w+)|does not provide an export named '(?<name>\w+)'/,
    check: ({ groups, output, at }) => {
      const what = groups['module'] ?? (/module 'node:/.test(output[at] ?? '') ? groups['name'] : undefined);
      return what === undefined ? undefined : { what };
    },
    reason: 'this version of Node.js does not have {what}',
    hint: 'Name a newer Node.js in package.json: "engines": {"node": ">=24"}.',
  },
  {
    on: everywhere,
    pattern:
      /^ReferenceError: (?<name>fetch|File|FormData|Headers|Blob|crypto|WebSocket|CustomEvent|ReadableStream|navigator) is not defined|TypeError: (?<method>Promise\.withResolvers|Object\.groupBy|Array\.fromAsync|\w+\.(?:toSorted|toReversed|isSubsetOf)) is not a function/,
    check: ({ groups }) => ({ what: groups['name'] ?? groups['method'] ?? '' }),
    reason: 'this version of Node.js does not have {what}',
    hint: 'Name a newer Node.js in package.json: "engines": {"node": ">=24"}.',
  },
  {
    on: everywhere,
    pattern:
      /localStorage\.(?:getItem|setItem) is not a function|Cannot (?:initialize|access) local ?[sS]torage|Cannot read properties of undefined \(reading '(?:getItem|setItem)'\)/,
    check: ({ output }) => (output.some((line) => /localStorage/.test(line)) ? {} : undefined),
    reason:
      'Node.js has a global `localStorage` since version 25, and the app takes the server for a browser',
    hint: 'Switch it off: sluice env set {app} NODE_OPTIONS=--no-experimental-webstorage',
  },
  {
    on: everywhere,
    pattern:
      /Node\.js version ["'`]?(?<range>[>=^~]*v?\d[\w.<>=|& ^-]{0,40}?)["'`]? (?:is|or later is) required|requires? (?:a minimum )?Node(?:\.js)?(?: version)?(?: of)? ["'`]?(?<range2>[>=^~]*v?\d[\w.+-]{0,20})|[Ss]upported (?:Node\.js )?versions?: ["'`]?(?<range3>[>=^~]*v?\d[\w.+-]{0,20})/,
    check: ({ groups }) => {
      const range = (groups['range'] ?? groups['range2'] ?? groups['range3'] ?? '').trim();
      return { range: range.endsWith('+') ? `>=${range.slice(0, -1)}` : range };
    },
    reason: 'a program requires another version of Node.js: {range}',
    hint: 'Name a version that fits in package.json: "engines": {"node": "{range}"}.',
  },
];
