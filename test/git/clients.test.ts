import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import git from 'isomorphic-git';
import http from 'isomorphic-git/http/node';
import { listDirectory } from '../../src/system/fs/files.ts';
import { answering, running } from '../support/apps.ts';
import { Checkout, remoteBranches } from '../support/git.ts';
import { startSluice } from '../support/server.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';
import { wholeFile } from '../support/whole-file.ts';

const sluice = await startSluice(wholeFile, { settings: { maxUploadBytes: '400M' } });
const author = { name: 'Iso', email: 'iso@example.com' };

test('isomorphic-git pushes, learns of a failed release, and clones the live commit', async (t) => {
  const dir = await temporaryDirectory(t);
  const url = `${sluice.url}/git/iso.git`;
  const remote = { fs, http, dir, url, onAuth: () => ({ username: 'git', password: sluice.token }) };
  await git.init({ fs, dir, defaultBranch: 'main' });
  const commit = async (message: string, files: Record<string, unknown>) => {
    for (const [path, content] of Object.entries(files)) {
      await writeFile(join(dir, path), typeof content === 'string' ? content : JSON.stringify(content));
      await git.add({ fs, dir, filepath: path });
    }
    return git.commit({ fs, dir, message, author });
  };
  const one = await commit('One', answering('one'));
  const messages: string[] = [];
  const pushed = await git.push({ ...remote, ref: 'main', onMessage: (text) => void messages.push(text) });
  assert.equal(pushed.ok, true);
  assert.match(messages.join(''), /live: http:/);
  assert.equal(await sluice.get('iso'), 'one');
  await commit('Broken', running('throw new Error("nothing works")'));
  await assert.rejects(git.push({ ...remote, ref: 'main' }), /pre-receive hook declined/);
  assert.equal(await sluice.get('iso'), 'one');

  const copy = await temporaryDirectory(t);
  await git.clone({ ...remote, dir: copy });
  assert.equal(await git.resolveRef({ fs, dir: copy, ref: 'HEAD' }), one);
});

test('a chunked push and a compressed request arrive whole (thorough)', async (t) => {
  const checkout = await Checkout.create(t, { GIT_TRACE_CURL: '1' });
  const url = sluice.gitUrl('chunked');
  // Above 1 MiB, git does not announce the length.
  await checkout.commit('One', { ...answering('one'), 'data.bin': randomBytes(3 * 1024 ** 2) });
  const pushed = await checkout.try('push', url, 'main');
  assert.equal(pushed.code, 0);
  assert.match(pushed.output, /Send header: Transfer-Encoding: chunked/i);
  // git compresses a long list of the commits that it has.
  for (let at = 0; at < 60; at += 1) await checkout.commit(`Here only ${at}`);
  const other = await Checkout.create(t);
  await other.git('pull', '--quiet', url, 'main');
  const two = await other.commit('Two', answering('two'));
  await other.git('push', url, 'main');
  const fetched = await checkout.try('fetch', url, 'main');
  assert.equal(fetched.code, 0, fetched.output);
  assert.match(fetched.output, /Send header: Content-Encoding: gzip/i);
  assert.equal(
    await checkout.git('rev-parse', 'FETCH_HEAD').then((output) => output.split('\n').at(-1)),
    two,
  );
});

test('the server streams a push of 200 MB with less than 64 MB of memory (thorough)', async (t) => {
  const checkout = await Checkout.create(t);
  const files: Record<string, unknown> = answering('large');
  for (let at = 0; at < 20; at += 1) files[`data/${at}.bin`] = randomBytes(10 * 1024 ** 2);
  const commit = await checkout.commit('Large', files);
  const before = await residentBytes(sluice.pid);
  let most = before;
  const push = checkout.start(
    '-c',
    'pack.compression=0',
    '-c',
    'pack.window=0',
    'push',
    sluice.gitUrl('large'),
    'main',
  );
  const watch = setInterval(async () => {
    most = Math.max(most, await residentBytes(sluice.pid));
  }, 20);
  const { code, output } = await push.ended;
  clearInterval(watch);
  assert.equal(code, 0, output);
  const grown = (most - before) / 1024 ** 2;
  t.diagnostic(`memory grew by ${grown.toFixed(1)} MiB, to ${(most / 1024 ** 2).toFixed(0)} MiB`);
  assert.ok(grown < 64, `${grown} MiB`);
  assert.deepEqual(await remoteBranches(checkout, sluice.gitUrl('large')), { main: commit });
});

test('git refuses a push above the limit, and nothing of it stays (thorough)', async (t) => {
  const own = await startSluice(t, { settings: { maxUploadBytes: '1M' } });
  const checkout = await Checkout.create(t);
  await checkout.commit('Large', { ...answering('large'), 'data.bin': randomBytes(2 * 1024 ** 2) });
  const { code, output } = await checkout.try('push', own.gitUrl('large'), 'main');
  assert.equal(code, 1);
  assert.match(
    output,
    /pack exceeds maximum allowed size.*\nThe push is larger than the limit of 1\.0 MiB \("maxUploadBytes"/,
  );
  await assert.rejects(own.status('large'), { code: 'app_not_found' });
  const left = async () => (await listDirectory(own.paths.apps)).includes('large');
  await waitFor(async () => !(await left()), { what: 'its end' });
});

async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1024;
}
