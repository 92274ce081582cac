import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { writeTree } from '../support/builds.ts';
import { Appliance } from './support/appliance.ts';
import { expressApp } from './support/apps.ts';
import { Attacker } from './support/attacker.ts';
import { acme, startAuthority } from './support/authority.ts';
import { suites } from './support/cache.ts';
import { install, installedGuest } from './support/installed.ts';
import { Laptop } from './support/laptop.ts';
import { publish } from './support/publisher.ts';

for (const suite of suites) {
  test(`${suite}: install.sh piped into sh, with a domain: pushes, uploads and apps go over https with certificates of an authority`, async (t) => {
    const guest = await installedGuest(t, suite);
    const root = await startAuthority(guest);
    // Of an earlier installation there are the settings, so that this one knows the authority from its start.
    await guest.exec(`/root/sluice/install.sh --uninstall --yes
      find /var/lib/sluice -mindepth 1 ! -name config.json -delete`);
    const settings = JSON.parse(await guest.read('var/lib/sluice/config.json'));
    await guest.write('var/lib/sluice/config.json', JSON.stringify({ ...settings, acme }));

    const { script, source, sha256 } = await publish(t, guest);
    const told = await guest.exec(
      `export SLUICE_SOURCE=${source} SLUICE_SHA256=${sha256}
      curl -fsSL ${script} | sh -s -- --domain deploy.example.com`,
      { timeout: 300_000 },
    );
    assert.match(told, /installs nginx/);
    const appliance = new Appliance(guest);
    const domains = JSON.parse(await appliance.sluice('domains list --json'));
    assert.equal(domains[0]?.name, 'deploy.example.com');
    assert.equal(domains[0].certificate.state, 'valid');
    assert.match(await guest.exec(`${install} --domain deploy.example.com`), /is up to date/);

    const attacker = await Attacker.start(appliance);
    const laptop = await Laptop.create(t);
    await writeFile(join(laptop.home, 'root.pem'), root);
    await writeTree(join(laptop.home, 'shop'), expressApp('over https'));
    const token = (await appliance.sluice('token create shop --app shop')).trim();
    const pushed = await laptop.exec(`
      git config --global http.sslCAInfo "$HOME/root.pem"
      git config --global http.curloptResolve deploy.example.com:443:${guest.address}
      cd shop && git init -q -b main && git add . && git commit -q -m First
      git remote add deploy https://git:${token}@deploy.example.com/git/shop.git
      git push deploy main`);
    assert.match(pushed, /remote: live: \S+ release 1/);
    assert.doesNotMatch(pushed, /unencrypted/);

    const [, line = ''] = /^ *(tar .*)$/m.exec(told) ?? [];
    await writeFile(
      join(laptop.home, '.curlrc'),
      `cacert = ${laptop.home}/root.pem\nresolve = deploy.example.com:443:${guest.address}\n`,
    );
    await writeTree(join(laptop.home, 'till'), expressApp('sent by the line that it prints'));
    assert.match(await laptop.exec(`cd till && ${line.replace('NAME', 'till')}`), /live: /);
    assert.equal(await appliance.answer('till'), 'sent by the line that it prints');

    assert.match(await appliance.sluice('domains add shop shop.example.com'), /valid until/);
    const curl = `curl -sS --cacert root.pem \
      --resolve shop.example.com:443:${guest.address} --resolve shop.example.com:80:${guest.address}`;
    const format = "-w ' %{http_version} %{http_code}'";
    assert.equal(await laptop.exec(`${curl} ${format} https://shop.example.com/`), 'over https 2 200');
    assert.match(
      await laptop.exec(
        `${curl} -o /dev/null -w '%{http_code} %{redirect_url}' http://shop.example.com/a?b=c`,
      ),
      /^30[18] https:\/\/shop\.example\.com\/a\?b=c$/,
    );
    assert.match(await appliance.sluice('status'), /https:\/\/shop\.example\.com/);
    assert.equal((await appliance.try('doctor')).code, 0, await appliance.sluice('doctor').catch(String));

    await guest.reboot();
    assert.equal(await laptop.exec(`${curl} ${format} https://shop.example.com/`), 'over https 2 200');

    await appliance.sluice('domains remove shop.example.com');
    await attacker.assertCaughtNobody();
    await guest.exec('/root/sluice/install.sh --uninstall --purge --yes', { timeout: 120_000 });
    const left = await guest.try('ls -d /etc/nginx/conf.d/sluice.conf /etc/nginx/sluice');
    assert.equal(left.stdout, '');
    await guest.exec('nginx -t && systemctl is-active nginx');
  });
}
