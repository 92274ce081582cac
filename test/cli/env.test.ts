import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { answering, running } from '../support/apps.ts';
import { awkwardValue } from '../support/awkward-value.ts';
import { cli } from '../support/cli.ts';
import { Random } from '../support/random.ts';
import { startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';
import { wholeFile } from '../support/whole-file.ts';

const sluice = await startSluice(wholeFile);
const env = { SLUICE_HOME: sluice.home };
const run = (...args: string[]) => cli(['env', ...args], { env });
const runOn = (input: string, ...args: string[]) =>
  cli(['env', ...args], { env, whileRunning: (child) => child.stdin?.end(input), stdin: 'pipe' });
const json = async (...args: string[]) => JSON.parse((await run(...args, '--json')).stdout);
const valuesOf = (app: string) => sluice.call<Record<string, string>>('GET', `/v1/apps/${app}/env`);

/** App that prints the variables NOISE and SECRET, and answers with all variables. */
const telling = {
  ...running(`console.log('noise: ' + process.env.NOISE + ', secret: ' + process.env.SECRET);
    require('node:http').createServer((request, response) => response.end(JSON.stringify(process.env)))
      .listen(process.env.PORT);`),
  'package.json': {
    scripts: {
      start: 'FROM_COMMAND=yes node server.js',
      build: 'echo building with $TOKEN and $NOISE; env > built.txt',
    },
  },
};
await run('set', 'shop', 'SECRET=open-sesame-1', 'EMPTY=');
await run('set', 'shop', '--plain', 'NOISE=loud-noise');
await run('set', 'shop', '--build', 'TOKEN=build-token-1');
await sluice.deploy('shop', telling);

test('list shows names and origins, and hides the values of secrets', async () => {
  const { stdout } = await run('list', 'shop');
  assert.match(stdout, /^NAME +VALUE +ORIGIN\n/);
  assert.match(stdout, /\nSECRET +•+ +sluice env set \(local, \d{4}-\d\d-\d\d \d\d:\d\d\)\n/);
  assert.match(stdout, /\nNOISE +loud-noise +sluice env set --plain \(local, /);
  assert.match(stdout, /\nTOKEN +•+ +sluice env set --build \(local, /);
  assert.match(stdout, /\nFROM_COMMAND +yes +start command\n/);
  assert.doesNotMatch(stdout, /open-sesame|build-token|\nPORT/);
  const rows: { name: string; value: string | null }[] = await json('list', 'shop');
  assert.deepEqual(
    rows.map(({ name, value }) => [name, value]),
    [
      ['TOKEN', null],
      ['SECRET', null],
      ['EMPTY', null],
      ['NOISE', 'loud-noise'],
      ['FROM_COMMAND', 'yes'],
    ],
  );
  assert.match((await run('list', 'shop', '--all')).stdout, /\nPORT +\d+ +Sluice\n/);
  assert.match((await run('list', 'shop', '--show')).stdout, /^SECRET=open-sesame-1$/m);
});

test('list shows which processes have a variable, and diff compares those of each process', async () => {
  const mail = { command: 'sh wait.sh', env: { LEVEL: 'debug', MAIL_TOKEN: 'mail-token-1', SHADE: null } };
  const settings = {
    env: { LEVEL: 'info', SHADE: 'red' },
    processes: { mail, clock: 'sh wait.sh', same: { command: 'sh wait.sh', env: { LEVEL: 'info' } } },
    environments: { staging: { processes: { mail: { ...mail, env: { LEVEL: 'trace' } } } } },
  };
  const files = { ...answering('ok', settings), 'wait.sh': 'sleep 600' };
  await sluice.deploy('post', files);
  await run('set', 'post', 'OWN=1');
  const { stdout } = await run('list', 'post');
  const rows = stdout.split('\n').map((line) => line.split(/ {2,}/));
  assert.deepEqual(rows.slice(0, 1), [['NAME', 'VALUE', 'PROCESSES', 'ORIGIN']]);
  assert.deepEqual(rows[1]?.slice(0, 3), ['OWN', '••••••', 'all']);
  assert.deepEqual(rows.slice(2, 6), [
    ['LEVEL', 'info', 'web, clock, same', 'sluice.json'],
    ['SHADE', 'red', 'web, clock, same', 'sluice.json'],
    ['LEVEL', 'debug', 'mail', 'sluice.json'],
    ['MAIL_TOKEN', '••••••', 'mail', 'sluice.json'],
  ]);
  const shown = (await run('list', 'post', '--show')).stdout;
  assert.match(shown, /^OWN=1\n(# .*\n)*$/);
  assert.match(shown, /\n# MAIL_TOKEN=mail-token-1 {2}\(sluice\.json, mail\)\n/);
  assert.match((await run('list', 'post', '--all')).stdout, /\nSLUICE_APP +post +all +Sluice\n/);
  await sluice.deploy('post', files, 'staging');
  const compared = (await run('diff', 'post', 'post@staging')).stdout;
  assert.match(compared, /\nLEVEL \(mail\) +debug +trace\n/);
  assert.doesNotMatch(compared, /\nLEVEL {2}/);
});

test('a token that may only read sees no values', async () => {
  const token = JSON.parse(
    (await cli(['token', 'create', 'reader', '--scope', 'read', '--json'], { env })).stdout,
  );
  const asReader = { SLUICE_URL: sluice.url, SLUICE_TOKEN: token.token };
  const listed = await cli(['env', 'list', 'shop', '--json'], { env: asReader });
  assert.deepEqual(
    JSON.parse(listed.stdout).map(({ value }: { value: unknown }) => value),
    [null, null, null, null, null],
  );
  const shown = await cli(['env', 'list', 'shop', '--show'], { env: asReader });
  assert.match(shown.stderr, /is hidden\n.*scope deploy/);
  assert.equal((await cli(['env', 'diff', 'shop', 'shop'], { env: asReader })).code, 2);
});

test('builds get build-only variables, and the running app does not', async () => {
  const app = JSON.parse(await sluice.get('shop'));
  assert.deepEqual([app.TOKEN, app.SECRET, app.EMPTY], [undefined, 'open-sesame-1', '']);
  const { directory } = sluice.paths.environment({ app: 'shop', environment: 'production' }).release(1);
  assert.match(await readFile(`${directory}/built.txt`, 'utf8'), /^TOKEN=build-token-1$/m);
  const log = await (await sluice.request('/v1/apps/shop/releases/1/log')).text();
  assert.match(log, /building with •+ and loud-noise/);
  assert.ok(!JSON.stringify(await sluice.releases('shop')).includes('builtWith'));
});

test('logs show plain values, and mask others', async () => {
  const logged = async (pattern: RegExp) =>
    waitFor(async () => pattern.test(await (await sluice.request('/v1/apps/shop/logs')).text()), {
      what: `${pattern}`,
    });
  await logged(/noise: loud-noise, secret: •+$/m);
  const unmarked = await run('set', 'shop', 'NOISE=loud-noise');
  assert.equal(unmarked.stdout, 'NOISE set\nshop now runs with the new variables.\n');
  await logged(/noise: •+, secret: •+$/m);
  assert.equal((await run('set', 'shop', '--plain', 'NOISE=loud-noise')).code, 0);
  assert.equal((await run('set', 'shop', '--plain', '--build', 'A=1')).code, 2);
});

test('a change of a variable that the build has used has a note, until the next build', async () => {
  const note =
    /note: the live release was built with other values of TOKEN: .* next deploy\n.*--release NUMBER/;
  const set = await run('set', 'shop', '--build', 'TOKEN=build-token-2');
  assert.match(set.stdout, /^TOKEN set\nThe next build of shop has these variables\./);
  assert.match(set.stdout, note);
  assert.match((await cli(['status', 'shop'], { env })).stdout, /built with other values of TOKEN/);
  const back = await run('set', 'shop', '--build', 'TOKEN=build-token-1');
  assert.doesNotMatch(back.stdout, note);
  assert.doesNotMatch((await cli(['status', 'shop'], { env })).stdout, /built with/);
  await run('set', 'shop', '--build', 'TOKEN=build-token-2');
  await sluice.deploy('shop', telling);
  assert.doesNotMatch((await cli(['status', 'shop'], { env })).stdout, /built with/);
});

test('a variable changes its kind, and is removed, whatever its kind', async () => {
  const moved = await run('set', 'shop', '--build', 'EMPTY=now-of-the-build');
  assert.match(moved.stdout, /^EMPTY set\nshop now runs with/);
  assert.equal(JSON.parse(await sluice.get('shop')).EMPTY, undefined);
  assert.deepEqual(Object.keys(await valuesOf('shop')), ['SECRET', 'NOISE']);
  const removed = await run('unset', 'shop', 'EMPTY');
  assert.match(removed.stdout, /^EMPTY removed\nThe next build of shop/);
});

test('the shown values can be set again, and stay as they are', async () => {
  const random = new Random(4);
  const changes = Object.fromEntries(
    Array.from({ length: 300 }, (_, index) => {
      const value = awkwardValue(random);
      const kind = random.pick([{}, { plain: true }, { build: true }]);
      return [`NAME_${index}`, { value, ...kind }];
    }),
  );
  await sluice.call('PATCH', '/v1/apps/many/env', changes);
  const shown = await run('list', 'many', '--show');
  const set = await runOn(shown.stdout, 'set', 'copied', '--file', '-');
  assert.equal(set.code, 0, set.stderr);
  const facts = async (app: string) =>
    (await json('list', app, '--show')).map(({ by: _by, at: _at, ...fact }: Record<string, unknown>) => fact);
  const sorted = async (app: string) =>
    (await facts(app)).sort((a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : 1));
  assert.deepEqual(await sorted('copied'), await sorted('many'));
  assert.match((await run('diff', 'many', 'copied')).stdout, /have the same variables: 300 variables/);
});

test('diff compares two environments, and hides the values of secrets', async () => {
  await run('set', 'shop@staging', 'SECRET=other-sesame', 'NEW=newest-value');
  await run('set', 'shop@staging', '--plain', 'NOISE=quiet-noise');
  const { stdout } = await run('diff', 'shop@staging', 'shop');
  assert.match(stdout, /^NAME +shop@staging +shop\n/);
  assert.match(stdout, /\nNEW +•+ +-\n/);
  assert.match(stdout, /\nNOISE +quiet-noise +loud-noise\n/);
  assert.match(stdout, /\nSECRET +•+ +•+\n/);
  assert.match(stdout, /\n\n0 variables with equal values\n$/);
  assert.match(
    (await run('diff', 'shop@staging', 'shop', '--show')).stdout,
    /\nSECRET +other-sesame +open-sesame-1\n/,
  );
});

test('copy copies values and marks, and replaces other values only if it may', async () => {
  const refused = await run('copy', 'shop', 'shop@staging');
  assert.equal(refused.code, 2);
  assert.match(
    refused.stderr,
    /shop@staging has other values of SECRET, NOISE; nothing was copied\n.*--overwrite/,
  );
  const one = await run('copy', 'shop', 'shop@staging', 'TOKEN');
  assert.equal(one.code, 0, one.stderr);
  assert.equal((await run('copy', 'shop', 'shop@staging', '--overwrite')).code, 0);
  const { stdout } = await run('diff', 'shop@staging', 'shop', '--show');
  assert.match(stdout, /\nNEW +newest-value +-\n/);
  assert.doesNotMatch(stdout, /\n(?:SECRET|NOISE|TOKEN)/);
  assert.match((await run('list', 'shop@staging')).stdout, /\nTOKEN +•+ +sluice env set --build/);
  assert.match((await run('copy', 'shop', 'new-shop', 'NOPE')).stderr, /shop has no variable NOPE/);
  assert.equal((await run('copy', 'shop', 'new-shop')).code, 0);
  assert.deepEqual(await valuesOf('new-shop'), await valuesOf('shop'));
});

test('a mark holds only for the value that it was set for', async () => {
  const { env: file } = sluice.paths.environment({ app: 'many', environment: 'production' });
  // An early version of Sluice changes this file alone.
  await sluice.call('PATCH', '/v1/apps/many/env', { MARKED: { value: 'known-to-all', plain: true } });
  const values = JSON.parse(await readFile(file, 'utf8'));
  await writeFile(file, JSON.stringify({ ...values, MARKED: 'a-new-secret' }));
  const marked = (await json('list', 'many')).find(({ name }: { name: string }) => name === 'MARKED');
  assert.deepEqual([marked.value, marked.plain, marked.by], [null, false, null]);
});
