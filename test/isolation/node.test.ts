import assert from 'node:assert/strict';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { Isolated, idsOf, withoutRoot } from '../support/isolated.ts';

/** App that tries to change the Node.js that runs it. */
const server = `
const fs = require('node:fs');
const { dirname, join } = require('node:path');
const bin = dirname(process.execPath);
const attempts = {
  replace: () => fs.rmSync(process.execPath),
  write: () => fs.openSync(process.execPath, 'r+'),
  add: () => fs.writeFileSync(join(bin, 'npm'), ''),
  header: () => fs.appendFileSync(join(bin, '../include/node/node.h'), ' '),
  touch: () => fs.utimesSync(join(bin, '../../..'), 0, 0),
  remove: () => fs.renameSync(join(bin, '../../..'), join(bin, '../../../../node@0.0.0')),
};
const codes = Object.entries(attempts).map(([name, attempt]) => {
  try { attempt(); return name + ' done'; } catch (error) { return error.code; }
});
require('node:http').createServer((_request, response) => {
  response.end(JSON.stringify({ uid: process.getuid(), version: process.version, node: process.execPath, codes }));
}).listen(process.env.PORT);
`;

test('an app with a system user runs on its own Node.js, and cannot change it (thorough)', {
  skip: withoutRoot,
  timeout: 180_000,
}, async (t) => {
  const { sluice, owner } = await Isolated.start(t);
  const { node } = await sluice.deploy('shop', { '.nvmrc': '22', 'server.js': server });
  const { uid, version, node: path, codes } = JSON.parse(await sluice.get('shop'));
  assert.equal(uid, (await idsOf(`${owner}_shop`)).uid);
  assert.equal(version, `v${node?.version}`);
  assert.match(version, /^v22\./);
  assert.ok(path.startsWith(join(sluice.paths.tools, `node@${node?.version}/`)), path);
  for (const code of codes) assert.match(code, /^(?:EACCES|EPERM)$/);
  const ofServer = (await stat(sluice.paths.tools)).uid;
  assert.equal((await stat(path)).uid, ofServer);
});
