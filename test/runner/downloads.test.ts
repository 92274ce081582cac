import assert from 'node:assert/strict';
import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { running } from '../support/apps.ts';
import { startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';

const row = `東京都渋谷区,山田太郎,Größe,Привет мир,${'あいうえお'.repeat(6)}\n`;
const count = 60_000;

const code = `
  const { createServer } = require('node:http');
  const { Readable } = require('node:stream');
  async function* rows() {
    for (let row = 0; row < ${count}; row += 1) {
      if (row % 200 === 0) await new Promise(setImmediate);
      yield ${JSON.stringify(row)};
    }
  }
  let download;
  createServer((request, response) => {
    if (request.url === '/full') return response.end(String(download.writableNeedDrain));
    download = response;
    Readable.from(rows()).pipe(response);
  }).listen(process.env.PORT);
`;

test('a download of text in any script reaches a pausing reader whole', async (t) => {
  const sluice = await startSluice(t);
  await sluice.deploy('export', running(code));
  const { url } = await sluice.status('export');
  const [response] = (await once(get(url, { agent: false }), 'response')) as [IncomingMessage];
  await waitFor(async () => (await sluice.get('export', '/full')) === 'true', { what: 'full buffers' });
  assert.ok((await text(response)) === row.repeat(count));
});
