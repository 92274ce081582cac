import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startSluice } from '../support/server.ts';
import { wholeFile } from '../support/whole-file.ts';

const sluice = await startSluice(wholeFile);

/** Server that answers with its arguments, variables and directory. */
const server = `
  const { A, B, PORT, PWD } = process.env;
  const made = require('node:fs').readFileSync('made.txt', 'utf8').trim();
  const seen = { args: process.argv.slice(2), A, B, port: PORT, directory: PWD === process.cwd() && PWD.split('/').at(-1), made };
  require('node:http').createServer((_request, response) => response.end(JSON.stringify(seen))).listen(PORT);
`;

test('a start command runs as a shell would run it: commands before it once, directory, variables, env files', async () => {
  const start =
    'cd app && echo once >> made.txt && cross-env B=2 dotenv -- node server.js --port $PORT -- "x $NONE y"';
  await sluice.call('PATCH', '/v1/apps/started/env', { A: 'of the app' });
  const { number } = await sluice.deploy('started', {
    'package.json': {
      ...{ name: 'app', version: '1.0.0', scripts: { start, prestart: 'tsc -p .' } },
      devDependencies: { builder: 'file:./builder' },
    },
    'builder/package.json': { name: 'builder', version: '1.0.0', bin: { tsc: 'tsc.js' } },
    'builder/tsc.js': `#!/usr/bin/env node
      require('node:fs').writeFileSync('app/made.txt', 'built\\n');
    `,
    'sluice.json': { workers: 2, settleTime: 0 },
    'app/server.js': server,
    'app/.env': 'A=of the file\nB=1\nPORT=1\n',
  });
  const { port } = await sluice.status('started');
  const expected = { args: ['--port', `${port}`, '--', 'x  y'], A: 'of the app', B: '2', port: `${port}` };
  const answer = async () => JSON.parse(await sluice.get('started'));
  assert.deepEqual(await answer(), { ...expected, directory: 'app', made: 'built\nonce' });
  await sluice.call('POST', '/v1/apps/started/restart');
  assert.equal((await answer()).made, 'built\nonce');
  const log = await (await sluice.request(`/v1/apps/started/releases/${number}/log`)).text();
  assert.match(log, /runs once before the workers start: cd app && echo once >> made\.txt/);
  assert.match(log, /starts with app\/server\.js \("start" in package\.json\), in 2 workers/);
});

test('a shell script starts the app in exec mode, and the log has the reason', async () => {
  const script = '#!/bin/sh\necho made > made.txt\nexec node server.js "$@"\n';
  const { number } = await sluice.deploy('scripted', {
    'package.json': { scripts: { start: 'sh start.sh -x' } },
    'sluice.json': { settleTime: 0 },
    'start.sh': script,
    'server.js': server,
  });
  assert.deepEqual(JSON.parse(await sluice.get('scripted')).args, ['-x']);
  const log = await (await sluice.request(`/v1/apps/scripted/releases/${number}/log`)).text();
  assert.match(
    log,
    /starts `sh start\.sh -x` in exec mode \("start" in package\.json; it runs a shell script\), in 1 worker/,
  );
});
