import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, writeSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { systemCode } from '../../src/errors/app-error.ts';
import { running } from '../support/apps.ts';
import { freePort } from '../support/free-port.ts';
import { fetchOnce } from '../support/http.ts';
import { workersOfHome } from '../support/processes.ts';
import { type Sluice, startSluice } from '../support/server.ts';
import { removeDirectory } from '../support/temporary.ts';
import { pathsBelow } from '../support/tree.ts';
import { waitFor } from '../support/wait.ts';

/** App that answers with a text, and prints 50 MB after a POST. */
const printing = (text: string) =>
  running(
    `
    const line = 'x'.repeat(1000);
    require('node:http').createServer((request, response) => {
      if (request.method === 'POST') for (let count = 0; count < 50_000; count += 1) console.log(line);
      response.end(${JSON.stringify(text)});
    }).listen(process.env.PORT);
  `,
    { keepWarm: 0 },
  );

test('on a full disk the server starts, apps run and logs take no memory; with free space all works again', {
  skip: process.getuid?.() === 0 ? false : 'only root may mount',
}, async (t) => {
  const home = await smallDisk();
  const port = await freePort();
  const sluice = await startSluice(t, { home, settings: { minFreeBytes: 0, listen: { port } } });
  t.after(() => removeDisk(home));
  await sluice.deploy('shop', printing('one'));
  const { url } = await sluice.status('shop');
  await sluice.leave();
  const filler = fill(home);

  await sluice.upInto(join(home, 'up.log'), port);
  const { runner } = await waitFor(() => processes(sluice), { what: 'a runner' });
  assert.equal(await (await fetchOnce(url)).text(), 'one');
  await assert.rejects(sluice.deploy('shop', printing('two')), { code: 'disk_full' });
  await assert.rejects(sluice.call('POST', '/v1/apps/shop/restart'), { code: 'disk_full' });
  const before = await residentMegabytes(runner.pid);
  assert.equal(await (await fetchOnce(url, { method: 'POST' })).text(), 'one');
  // Garbage is collected sooner or later; held text would stay for as long as the disk is full.
  const grown: number[] = [];
  const isLevel = async () => {
    grown.push((await residentMegabytes(runner.pid)) - before);
    return Math.min(...grown) < 25;
  };
  await waitFor(isLevel, {
    what: 'the end of what an app printed and the runner could not write',
    interval: 200,
  });
  t.diagnostic(`the runner has grown by ${grown.at(-1)?.toFixed(1)} MB`);

  await rm(filler);
  await sluice.untilRunning('shop');
  await sluice.deploy('shop', printing('two'));
  assert.equal(await sluice.get('shop'), 'two');
  await waitFor(
    async () => {
      const known = (await sluice.status('shop')).workers.map((worker) => worker.pid);
      return isDeepStrictEqual(await workersOfHome(home), known);
    },
    { what: 'no other worker' },
  );
  const names = await pathsBelow(home);
  assert.deepEqual(
    names.filter((name) => /\.tmp-|staging\/./.test(name)),
    [],
  );
  assert.equal((await processes(sluice))?.runner.pid, runner.pid);
});

/** Makes a home on a file system of its own. */
async function smallDisk(): Promise<string> {
  const mount = await mkdtemp(join(tmpdir(), 'sluice-test-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m,mode=700', 'tmpfs', mount]);
  return mount;
}

async function removeDisk(mount: string): Promise<void> {
  execFileSync('umount', ['-l', mount]);
  await removeDirectory(mount);
}

/** Fills the disk. @returns the file that takes all the space */
function fill(directory: string): string {
  const path = join(directory, 'filler');
  const file = openSync(path, 'w');
  try {
    for (;;) writeSync(file, Buffer.alloc(4096));
  } catch (error) {
    if (systemCode(error) !== 'ENOSPC') throw error;
  } finally {
    closeSync(file);
  }
  return path;
}

async function processes(sluice: Sluice): Promise<{ runner: { pid: number } } | undefined> {
  const { runner } = await sluice.call<{ runner: { pid: number } | null }>('GET', '/v1/status');
  return runner === null ? undefined : { runner };
}

async function residentMegabytes(pid: number): Promise<number> {
  const [, kilobytes] = /VmRSS:\s+(\d+) kB/.exec(await readFile(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kilobytes) / 1024;
}
