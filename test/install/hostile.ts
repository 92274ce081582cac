import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { fatal, hostileApp, lasting } from '../support/hostile.ts';
import { waitFor } from '../support/wait.ts';
import { Appliance } from './support/appliance.ts';
import { suites } from './support/cache.ts';
import { GuestLoad } from './support/guest-load.ts';
import { installedGuest } from './support/installed.ts';

const plain = resolve(import.meta.dirname, '../fixtures/apps/plain.cjs');
/** KiB that the runner may grow by over all attacks: an idle process keeps its garbage for minutes. */
const noise = 40 * 1024;

for (const suite of suites) {
  test(`${suite}: an app that attacks a runner that is root harms only itself`, async (t) => {
    const guest = await installedGuest(t, suite, { memory: 1024 ** 3 });
    const appliance = new Appliance(guest);
    await appliance.deploy('shop', {
      'server.js': await readFile(plain, 'utf8'),
      'sluice.json': { workers: 1 },
    });
    const settings = { workers: 1, minUptime: 0, restartDelay: 10, killTimeout: 500 };
    await appliance.deploy('evil', { 'server.js': hostileApp, 'sluice.json': settings });
    const shop = await appliance.status('shop');
    const { port } = await appliance.status('evil');
    const runner = (await guest.exec('systemctl show -P MainPID sluice-runner')).trim();
    assert.match(await guest.exec(`ps -o user= -p ${runner}`), /^root$/m);
    const descriptors = async () => Number(await guest.exec(`ls /proc/${runner}/fd | wc -l`));
    const memory = async () => Number(await guest.exec(`ps -o rss= -p ${runner}`));
    const pid = async () => (await appliance.status('evil')).workers[0]?.pid;
    const run = async (code: string) => {
      await guest.write('root/attack.js', code);
      const { stdout } = await guest.try(
        `curl -sS --max-time 60 --data-binary @/root/attack.js http://127.0.0.1:${port}/`,
        { timeout: 90_000 },
      );
      return stdout;
    };

    const before = { descriptors: await descriptors(), memory: await memory() };
    const load = await GuestLoad.start(guest, shop.port, 4);
    for (const [name, code] of Object.entries(fatal)) {
      const former = await waitFor(pid, { what: 'the app' });
      await run(code);
      await waitFor(async () => ((await pid()) ?? former) !== former, {
        what: `another worker after ${name}`,
      });
    }
    await appliance.sluice('restart evil');
    for (const [name, code] of Object.entries(lasting(1500))) {
      const former = await waitFor(pid, { what: 'the app' });
      assert.equal(await run(code), 'done', name);
      assert.equal(await pid(), former, name);
    }
    const report = await load.stop();
    assert.deepEqual(report.errors, []);
    assert.ok(report.answered > 1000, `${report.answered} requests`);

    await waitFor(async () => (await descriptors()) <= before.descriptors, {
      what: 'the former descriptors',
    });
    await waitFor(async () => (await memory()) <= before.memory + noise, { what: 'the former size' });
    t.diagnostic(
      `${suite}: ${report.answered} requests to a neighbour, the slowest ${Math.round(report.slowest)} ms; the runner has ${await descriptors()} descriptors (${before.descriptors}) and ${await memory()} KiB (${before.memory})`,
    );
    assert.equal((await guest.exec('systemctl show -P MainPID sluice-runner')).trim(), runner);
    assert.equal(await guest.exec('systemctl show -P NRestarts sluice sluice-runner'), '0\n\n0\n');
    assert.equal((await appliance.status('shop')).workers[0]?.pid, shop.workers[0]?.pid);
  });
}
