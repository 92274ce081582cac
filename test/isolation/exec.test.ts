import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fetchText } from '../support/http.ts';
import { Isolated, withoutRoot } from '../support/isolated.ts';

const server = `require('node:http').createServer((request, response) => {
  const { searchParams } = new URL(request.url, 'http://app');
  try {
    response.end(require('node:fs').readFileSync(searchParams.get('file')));
  } catch (error) {
    response.end(error.code);
  }
}).listen(process.env.PORT);`;

test('a command runs as the user of its app, and no other app can read the secret of its processes (thorough)', {
  skip: withoutRoot,
  timeout: 120_000,
}, async (t) => {
  const { sluice } = await Isolated.start(t);
  const settings = { settleTime: 100, workers: 1 };
  await sluice.deploy('shop', {
    'server.js': server,
    'start.sh': 'node server.js; exit 1',
    'sluice.json': { ...settings, start: 'sh start.sh' },
  });
  await sluice.deploy('other', { 'server.js': server, 'sluice.json': settings });
  const shop = await sluice.status('shop');
  assert.equal(shop.exec?.command, 'sh start.sh');
  const read = async (port: number, file: string) =>
    (await fetchText(port, `/?file=${encodeURIComponent(file)}`)).body;
  assert.match(await read(shop.port, '/proc/self/environ'), /SLUICE_WORKER=.*"secret"/);
  const [{ pid = 0 } = {}] = shop.workers;
  const { port } = await sluice.status('other');
  assert.equal(await read(port, `/proc/${pid}/environ`), 'EACCES');
});
