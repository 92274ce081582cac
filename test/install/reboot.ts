import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { writeTree } from '../support/builds.ts';
import { RunningGit } from '../support/git.ts';
import { Appliance } from './support/appliance.ts';
import { expressApp } from './support/apps.ts';
import { suites } from './support/cache.ts';
import type { Guest } from './support/guest.ts';
import { installedGuest } from './support/installed.ts';
import { Laptop } from './support/laptop.ts';

/** Five seconds are promised, on a machine of its own. */
const limit = 15_000;

for (const suite of suites) {
  test(`${suite}: after a reboot, a power cut, and both in the middle of a deploy, all apps answer`, async (t) => {
    const guest = await installedGuest(t, suite);
    const appliance = new Appliance(guest);
    await appliance.deploy('shop', expressApp('shop'));
    await appliance.deploy('blog', expressApp('blog'));
    await appliance.deploy('gone', expressApp('gone'));
    await appliance.sluice('stop gone');
    const ports = [await appliance.status('shop'), await appliance.status('blog')].map(({ port }) => port);

    for (const hard of [false, true]) {
      await guest.reboot({ hard });
      for (const port of ports)
        assert.match(await appliance.ask(port), /^(?:shop|blog)$/, 'the boot is done');
      const took = await timeToAnswer(guest);
      t.diagnostic(`${suite}: ready ${took} ms after the machine was, ${hard ? 'power cut' : 'reboot'}`);
      assert.ok(took < limit, `${took} ms`);
      assert.equal((await appliance.status('gone')).state, 'stopped', 'what was stopped stays so');
    }

    const laptop = await Laptop.create(t);
    await guest.write('root/laptop.pub', await laptop.publicKey());
    await appliance.sluice('keys add laptop /root/laptop.pub');
    const moments = [
      { at: /-- install/, hard: true },
      { at: /-- boot/, hard: true },
      { at: /-- switch/, hard: true },
      { at: /-- boot/, hard: false },
    ];
    let old = 'none';
    for (const [number, { at, hard }] of moments.entries()) {
      const fresh = `release ${number}`;
      await writeTree(join(laptop.home, 'till'), expressApp(fresh));
      await laptop.exec('cd till && git init -q -b main && git add . && git commit -qm Next');
      const push = startPush(laptop, `ssh://sluice-git@${guest.address}/till`);
      await push.until(at);
      await guest.reboot({ hard });
      push.process.kill('SIGKILL');
      await push.ended;
      const answer = await appliance.answer('till').catch(() => 'none');
      t.diagnostic(
        `${suite}: ${hard ? 'power cut' : 'reboot'} at ${at}: ${answer === fresh ? 'new' : 'old'}`,
      );
      assert.ok([old, fresh].includes(answer), `${answer} is neither ${old} nor ${fresh}`);
      for (const port of ports) assert.match(await appliance.ask(port), /^(?:shop|blog)$/);
      old = await pushAgain(appliance, laptop, guest, fresh);
    }
  });
}

/** Returns the time from basic.target to the server's report that all apps are up, in ms. */
async function timeToAnswer(guest: Guest): Promise<number> {
  const at = async (unit: string) =>
    Number(await guest.exec(`systemctl show -P ActiveEnterTimestampMonotonic ${unit}`)) / 1000;
  return Math.round((await at('sluice.service')) - (await at('basic.target')));
}

function startPush(laptop: Laptop, url: string): RunningGit {
  const [program = '', ...args] = laptop.command('git', 'push', url, 'main');
  const options = { cwd: join(laptop.home, 'till'), env: laptop.env };
  return new RunningGit(
    spawn(program, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'], detached: true }),
  );
}

/** The commit that was under way goes live now. */
async function pushAgain(appliance: Appliance, laptop: Laptop, guest: Guest, text: string): Promise<string> {
  const push = `cd till && git commit -q --allow-empty -m Again && git push ssh://sluice-git@${guest.address}/till main`;
  assert.match(await laptop.exec(push), /remote: live:/);
  assert.equal(await appliance.answer('till'), text);
  return text;
}
