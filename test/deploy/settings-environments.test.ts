import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { AppStatus } from '../../src/apps/status.ts';
import type { ListedVariable } from '../../src/service/variables.ts';
import { running } from '../support/apps.ts';
import { startSluice, type WithUrl } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';
import { wholeFile } from '../support/whole-file.ts';

const sluice = await startSluice(wholeFile, { check: true });

/** Appends a line to the file SEEN: what runs, and its variables. */
const note = (what: string) => `echo "${what}: $NODE_ENV $LEVEL $SHADE" >> $SEEN`;

const speaking = `
  const { NODE_ENV, LEVEL, SHADE, API_TOKEN } = process.env;
  console.log('level ' + LEVEL + ', token ' + API_TOKEN);
  require('node:http').createServer((q, r) => r.end([NODE_ENV, LEVEL, SHADE].join(' '))).listen(process.env.PORT);
`;

function files(seen: string, more: object = {}) {
  return {
    ...running(speaking, {
      env: { LEVEL: 'info-level', SHADE: 1, API_TOKEN: 'token-of-all', SEEN: seen },
      hooks: { preBuild: note('preBuild'), preSwitch: note('preSwitch') },
      processes: { mail: 'node mail.js' },
      cron: [{ schedule: '* * * * * *', command: note('cron') }],
      environments: {
        staging: {
          workers: 2,
          env: { LEVEL: 'debug-level' },
          processes: { mail: { count: 0 }, clock: 'node mail.js clock' },
          ...more,
        },
      },
    }),
    'mail.js': `
      const { SEEN, NODE_ENV, LEVEL, SHADE } = process.env;
      const what = process.argv[2] ?? 'mail';
      require('node:fs').appendFileSync(SEEN, [what + ':', NODE_ENV, LEVEL, SHADE].join(' ') + '\\n');
      setInterval(() => undefined, 1000);
    `,
    'package.json': { scripts: { build: note('build') } },
  };
}

function openWorkers({ workers }: AppStatus): number {
  return workers.filter(({ state }) => state === 'open').length;
}

/** Returns the different lines of a file. */
async function linesOf(path: string): Promise<string[]> {
  return [...new Set((await readFile(path, 'utf8')).trim().split('\n'))].sort();
}

test('each environment has its settings and variables, also in hooks, builds, background processes and cron', async () => {
  const expected: Record<string, string[]> = {
    production: [
      'build: production info-level 1',
      'cron: production info-level 1',
      'mail: production info-level 1',
      'preBuild: production info-level 1',
      'preSwitch: production info-level 1',
    ],
    staging: [
      'build: production debug-level 1',
      'clock: staging debug-level 1',
      'cron: staging debug-level 1',
      'preBuild: production debug-level 1',
      'preSwitch: staging debug-level 1',
    ],
  };
  for (const [environment, lines] of Object.entries(expected)) {
    const seen = join(sluice.home, `seen-${environment}`);
    await sluice.deploy('shop', files(seen), environment);
    const found = await waitFor(
      async () => {
        const now = await linesOf(seen);
        return now.length >= lines.length && now;
      },
      { what: `all lines of ${environment}` },
    );
    assert.deepEqual(found, lines);
  }
  const status = (environment: string) =>
    sluice.call<WithUrl<AppStatus>>('GET', `/v1/apps/shop?environment=${environment}`);
  const [production, staging] = [await status('production'), await status('staging')];
  assert.deepEqual([openWorkers(production), openWorkers(staging)], [1, 2]);
  const answers = await Promise.all([production, staging].map(async ({ url }) => (await fetch(url)).text()));
  assert.deepEqual(answers, ['production info-level 1', 'staging debug-level 1']);
});

test('variables of `sluice env set` take precedence, and a start command over both', async () => {
  const env = { LEVEL: 'of-settings', SHADE: 'of-settings', NODE_ENV: 'of-settings' };
  const start = 'SHADE=of-command node server.js';
  await sluice.call('PATCH', '/v1/apps/order/env', { LEVEL: 'of-users', SHADE: 'of-users' });
  await sluice.deploy('order', running(speaking, { env, start }));
  assert.equal(await sluice.get('order'), 'of-settings of-users of-command');
  const listed = await sluice.call<ListedVariable[]>('GET', '/v1/apps/order/variables');
  assert.deepEqual(
    listed.map(({ name, value, origin }) => [name, value, origin]),
    [
      ['LEVEL', null, 'sluice env set'],
      ['SHADE', null, 'sluice env set'],
      ['SHADE', 'of-command', 'start command'],
      ['NODE_ENV', 'of-settings', 'sluice.json'],
    ],
  );
});

test('a rollback restores the settings of an environment', async () => {
  const seen = join(sluice.home, 'seen-back');
  await sluice.deploy('back', files(seen), 'staging');
  await sluice.deploy('back', files(seen, { env: { LEVEL: 'newer' }, workers: 1 }), 'staging');
  const status = () => sluice.call<WithUrl<AppStatus>>('GET', '/v1/apps/back?environment=staging');
  const answer = async () => (await fetch((await status()).url)).text();
  assert.equal(await answer(), 'staging newer 1');
  await sluice.call('POST', '/v1/apps/back/rollback?environment=staging', {});
  assert.equal(await answer(), 'staging debug-level 1');
  assert.equal(openWorkers(await status()), 2);
});

test('only values in the settings that are secret by their name are masked', async () => {
  const text = await waitFor(
    async () => {
      const lines = await (await sluice.request('/v1/apps/shop/logs')).text();
      return lines.includes('level ') && lines;
    },
    { what: 'output of the app' },
  );
  assert.match(text, /level info-level, token •+/);
});
