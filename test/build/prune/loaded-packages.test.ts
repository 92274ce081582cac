import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { loadedPackages } from '../../../src/build/prune/loaded-packages.ts';
import { decideStart } from '../../../src/build/start-command/start-plan.ts';
import { appSettings } from '../../support/builds.ts';
import { temporaryDirectory } from '../../support/temporary.ts';
import { writeTree } from '../../support/tree.ts';

async function loaded(t: TestContext, files: Record<string, unknown>, settings = {}): Promise<string[]> {
  const tree = await temporaryDirectory(t);
  await writeTree(tree, files);
  const start = await decideStart(tree, appSettings({ directory: 'app', ...settings }));
  return (await loadedPackages(tree, start)).sort();
}

test('the packages that the files of an app load are found, also in files that its entry loads', async (t) => {
  const found = await loaded(t, {
    'app/package.json': { scripts: { start: 'node src/server' } },
    'app/src/server.js':
      "const config = require('../webpack.dev.js');\nconst express = require('express');\n",
    'app/webpack.dev.js': "const { merge } = require('webpack-merge');\nrequire('./lib/index');\n",
    'app/lib/index.js': `
import a, {
  b,
} from '@scope/a/b';
import 'side-effect';
export * from "again";
const {
  c,
} = require('c/d.js');
var e_1 = __importDefault(require("e"));
`,
  });
  assert.deepEqual(found, ['@scope/a', 'again', 'c', 'e', 'express', 'side-effect', 'webpack-merge']);
});

test('all packages of a declaration with commas are found, and none that a function in it loads', async (t) => {
  const found = await loaded(t, {
    'app/package.json': { scripts: { start: 'node server.js' } },
    'app/server.js': `
const isProduction = process.env.NODE_ENV === 'production', express = require('express');
const a = 1,
  b = require('b')
let app = require('c')(), io = require('socket.io')(app)
var first,
last = require('class-validator')
const load = () => require('late'),
  other = function () { const x = require('later'); };
const object = {
  method() {
    const y = require('latest');
  },
};
`,
  });
  assert.deepEqual(found, ['b', 'c', 'class-validator', 'express', 'socket.io']);
});

test('lines that end as in Windows, comments and a line after the keyword do not end a declaration', async (t) => {
  const found = await loaded(t, {
    'app/package.json': { scripts: { start: 'node server.js' } },
    'app/server.js': `
const {\r\nConfig\r\n} = require('dotenv')\r
const { // class names (a)
 a
} = require('aa')
const { /* function f() {
 */ \nb } =\nrequire('bb')
var
foo = require('foo')
const { c }
= require('cc'), url = 'https://x', d = require('dd')
let e // = require('commented')
function f() {
  const g = require('late')
}
`,
  });
  assert.deepEqual(found, ['aa', 'bb', 'cc', 'dd', 'dotenv', 'foo']);
});

test('the start is found as the system or Node.js finds it', async (t) => {
  const load = "#!/usr/bin/env node\nconst e = require('express');\n";
  const executable = { scripts: { start: './bin/serve' } };
  assert.deepEqual(await loaded(t, { 'app/package.json': executable, 'app/bin/serve': load }), ['express']);
  const main = { main: 'lib/app.js', scripts: { start: 'node .' } };
  assert.deepEqual(await loaded(t, { 'app/package.json': main, 'app/lib/app.js': load }), ['express']);
});

test('packages for development, types and text are not found', async (t) => {
  const found = await loaded(t, {
    'app/package.json': { scripts: { start: 'node server.ts' } },
    'app/server.ts': `
import type { Request } from 'express';
if (process.env.NODE_ENV !== 'production') {
  const vite = require('vite');
  await import('hot');
}
// import x from 'commented'
const text = "import y from 'quoted'";
import { z } from './missing.ts';
`,
  });
  assert.deepEqual(found, []);
});

test('the files of background processes and of conventional names count, and those outside of the release do not', async (t) => {
  const files = {
    'app/package.json': {},
    'app/index.js': "import a from 'a';\nimport b from '../../outside.js';\n",
    'app/queue.js': "const q = require('q');\n",
  };
  assert.deepEqual(await loaded(t, files, { processes: { queue: 'node queue.js' } }), ['a', 'q']);
});

test('the search through a hostile file takes linear time', async (t) => {
  const line = {
    import: 'import a\n',
    const: 'const a\n',
    nested: 'const a = a(a(a(a(\n',
    list: 'var ,\n',
    quotes: "var '',\n",
    comments: 'var /**/,\n',
  };
  for (const text of Object.values(line)) {
    const files = { 'app/package.json': {}, 'app/index.js': text.repeat(6000) };
    const before = process.cpuUsage();
    assert.deepEqual(await loaded(t, files), []);
    const { user } = process.cpuUsage(before);
    assert.ok(user < 5e6, `${user} µs`);
  }
});
