import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Isolated, withoutRoot } from '../support/isolated.ts';

/** App that reports the packages that it finds. */
const server = `
const fs = require('node:fs');
const body = JSON.stringify([fs.readdirSync('node_modules').filter((name) => !name.startsWith('.')), process.env.PATH]);
require('node:http').createServer((_request, response) => response.end(body)).listen(process.env.PORT);
`;

test('dev packages of an app with a system user are removed as that user (thorough)', {
  skip: withoutRoot,
  timeout: 180_000,
}, async (t) => {
  const { sluice } = await Isolated.start(t);
  await sluice.deploy('shop', {
    'package.json': {
      name: 'shop',
      version: '1.0.0',
      scripts: { start: 'node server.js' },
      dependencies: { needed: 'file:./needed' },
      devDependencies: { 'is-number': '7.0.0' },
    },
    'needed/package.json': { name: 'needed', version: '1.0.0' },
    'server.js': server,
  });
  const [packages, path] = JSON.parse(await sluice.get('shop'));
  assert.deepEqual(packages, ['needed']);
  assert.match(path, /^\/\S+\/releases\/1\/node_modules\/\.bin:/);
});
