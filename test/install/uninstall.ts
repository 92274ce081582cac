import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { Appliance } from './support/appliance.ts';
import { expressApp } from './support/apps.ts';
import { suites } from './support/cache.ts';
import { Guest } from './support/guest.ts';
import { install, installedGuest } from './support/installed.ts';
import { copyProject } from './support/project.ts';
import { added, traces } from './support/traces.ts';

for (const suite of suites) {
  test(`${suite}: uninstalling keeps the state for the next time, purging leaves nothing`, async (t) => {
    const bare = await Guest.boot(t, suite);
    await copyProject(join(bare.root, 'root/sluice'));
    const plain = await traces(bare);
    const guest = await installedGuest(t, suite);
    const appliance = new Appliance(guest);
    await appliance.deploy('shop', expressApp('shop'));

    await guest.exec('/root/sluice/install.sh --uninstall --yes', { timeout: 120_000 });
    assert.deepEqual(
      added(plain, await traces(guest)).filter(
        (trace) => !/^file \/var\/lib\/sluice\b|^g?(?:passwd|group|shadow) sluice|^package /.test(trace),
      ),
      [],
      'nothing but what --purge would remove',
    );
    assert.equal((await guest.try('pgrep -u sluice_shop,sluice')).stdout, '', 'nothing runs');

    await guest.exec(install, { timeout: 300_000 });
    await appliance.answers((await appliance.status('shop')).port);
    assert.equal(await appliance.answer('shop'), 'shop', 'an installation takes over what is there');

    await guest.exec('/root/sluice/install.sh --uninstall --purge --yes', { timeout: 120_000 });
    assert.deepEqual(
      added(plain, await traces(guest)).filter((trace) => !trace.startsWith('package ')),
      [],
    );
  });
}
