import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { test } from 'node:test';
import type { Files } from '../support/pack.ts';
import { Appliance } from './support/appliance.ts';
import { suites } from './support/cache.ts';
import { installedGuest } from './support/installed.ts';

const lockfiles = resolve(import.meta.dirname, '../fixtures/lockfiles');

/** The carried npm lies beside Node.js; these are fetched, by the server's user, for the users of all apps. */
const others = [
  { manager: 'yarn', lockfile: 'yarn-1/yarn.lock', agent: /^yarn\/1\.22\./, apps: ['mill', 'loom'] },
  { manager: 'pnpm', lockfile: 'pnpm-10/pnpm-lock.yaml', agent: /^pnpm\/10\./, apps: ['kiln'] },
];

for (const suite of suites) {
  test(`${suite}: apps are built as their own users with yarn 1 and pnpm, which the server fetches once for all`, async (t) => {
    const guest = await installedGuest(t, suite);
    const appliance = new Appliance(guest);
    const tools = '/var/lib/sluice/cache/tools';
    for (const { manager, lockfile, agent, apps } of others) {
      const fetched = new Set<string>();
      for (const app of apps) {
        await appliance.deploy(app, await lockedApp(lockfile));
        assert.match(await appliance.answer(app), agent);
        const release = `/var/lib/sluice/apps/${app}/production/current`;
        assert.equal(
          await guest.exec(
            `stat -c %U ${release}/node_modules/ms/ ${release}/built.txt; ls ${release}/node_modules`,
          ),
          `sluice_${app}\nsluice_${app}\nms\n`,
          'built by its user, with what it was made with, and freed of what only the build needed',
        );
        const tool = await guest.exec(`stat -c '%n %U %a %Y' ${tools}/${manager}@*`);
        assert.match(tool, /^\S+ sluice 755 \d+\n$/);
        fetched.add(tool);
      }
      assert.equal(fetched.size, 1, 'not once more for another app');
    }
  });
}

/** Its build fails without its dev dependency. */
async function lockedApp(lockfile: string): Promise<Files> {
  const [, name = ''] = lockfile.split('/');
  return {
    'package.json': {
      name: 'locked',
      version: '1.0.0',
      license: 'MIT',
      scripts: { build: 'node build.js', start: 'node server.js' },
      dependencies: { ms: '2.1.3' },
      devDependencies: { 'is-number': '7.0.0' },
    },
    [name]: await readFile(resolve(lockfiles, lockfile), 'utf8'),
    'build.js': `
      if (!require('is-number')(5)) process.exit(1);
      require('node:fs').writeFileSync('built.txt', process.env.npm_config_user_agent);
    `,
    'server.js': `
      require('ms')('2 days');
      const built = require('node:fs').readFileSync('built.txt');
      require('node:http').createServer((_, response) => response.end(built)).listen(process.env.PORT);
    `,
    'sluice.json': { workers: 1, settleTime: 200 },
  };
}
