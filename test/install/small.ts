import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { Appliance } from './support/appliance.ts';
import { expressApp } from './support/apps.ts';
import { suites } from './support/cache.ts';
import { Guest } from './support/guest.ts';
import { install } from './support/installed.ts';
import { copyProject } from './support/project.ts';

for (const suite of suites) {
  test(`${suite}: a machine with 512 MB installs, builds an Express app and switches to its next release`, async (t) => {
    const guest = await Guest.boot(t, suite, { memory: 512 * 1024 * 1024 });
    await copyProject(join(guest.root, 'root/sluice'));
    await guest.exec(install, { timeout: 300_000 });
    const appliance = new Appliance(guest);
    await appliance.deploy('shop', expressApp('first'));
    assert.equal(await appliance.answer('shop'), 'first');
    await appliance.deploy('shop', expressApp('second'));
    assert.equal(await appliance.answer('shop'), 'second');
    const { state } = await appliance.status('shop');
    assert.equal(state, 'running');
    assert.equal(
      await guest.exec('systemctl show -P NRestarts sluice sluice-runner'),
      '0\n\n0\n',
      'nobody died',
    );
  });
}
