import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { createGzip } from 'node:zlib';
import { answering } from '../support/apps.ts';
import { manyEntries, tarEntry } from '../support/archive.ts';
import { startSluice } from '../support/server.ts';

const MiB = 1024 ** 2;
const entries = 200_000;

test(`a release of ${entries} entries is uploaded, built, replaced and removed, and the server grows by less than 64 MiB`, async (t) => {
  const sluice = await startSluice(t, { settings: { maxEntries: entries } });
  await sluice.deploy('shop', answering('before'));
  const before = residentBytes(sluice.pid);
  let most = before;
  const watch = setInterval(() => {
    most = Math.max(most, residentBytes(sluice.pid));
  }, 20);
  using _ = { [Symbol.dispose]: () => clearInterval(watch) };
  const body = Readable.from(archive()).pipe(createGzip({ level: 1 }));
  const init = { method: 'POST', body: Readable.toWeb(body), duplex: 'half' } as unknown as RequestInit;
  const response = await sluice.request('/v1/apps/shop/releases', init);
  assert.equal(response.status, 201, await response.text());
  assert.equal(await sluice.get('shop'), 'many');
  for (const word of ['three', 'four', 'five']) {
    await sluice.deploy('shop', answering(word, { keepReleases: 2 }));
  }
  assert.deepEqual((await sluice.releases('shop')).map(({ state }) => state).slice(-2), [
    'removed',
    'removed',
  ]);
  const grown = (most - before) / MiB;
  const left = (residentBytes(sluice.pid) - before) / MiB;
  t.diagnostic(`memory grew by ${grown.toFixed(1)} MiB, of which ${left.toFixed(1)} MiB are left`);
  assert.ok(grown < 64, `${grown} MiB`);
});

function* archive(): Generator<Buffer> {
  const files = answering('many', { keepReleases: 2 });
  for (const [path, content] of Object.entries(files)) {
    yield tarEntry({ path, content: typeof content === 'string' ? content : JSON.stringify(content) });
  }
  yield* manyEntries(entries - Object.keys(files).length);
}

function residentBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1024;
}
