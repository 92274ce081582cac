import assert from 'node:assert/strict';
import { test } from 'node:test';
import { suites } from './support/cache.ts';
import { Guest } from './support/guest.ts';

for (const suite of suites) {
  test(`a guest with ${suite} boots, reaches the registries, and comes back from a reboot`, async (t) => {
    const guest = await Guest.boot(t, suite);
    assert.equal(await guest.exec('. /etc/os-release; echo $VERSION_CODENAME'), `${suite}\n`);
    assert.equal((await guest.try('command -v node npm git')).stdout, '', 'a plain image');
    await guest.exec('useradd --system somebody');
    const ids = (await guest.exec('cut -d: -f3 /etc/passwd')).trim().split('\n').map(Number);
    assert.deepEqual(
      ids.filter((id) => id >= 100 && id < 1000 && (id < 400 || id > 599)),
      [],
      'no user has an id that useradd gives to a user of the host',
    );
    await guest.exec('apt-get -q update', { timeout: 120_000 });
    await guest.write('root/kept', 'kept');
    const boot = () => guest.exec('cat /proc/sys/kernel/random/boot_id; stat -c %Y /proc/1');
    const first = await boot();
    await guest.reboot();
    assert.equal(await guest.exec('cat /root/kept'), 'kept');
    await guest.reboot({ hard: true });
    assert.equal(await guest.exec('cat /root/kept'), 'kept');
    assert.notEqual(await boot(), first);
  });
}
