import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { cli } from '../support/cli.ts';
import { startSluice } from '../support/server.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { wholeFile } from '../support/whole-file.ts';

const sluice = await startSluice(wholeFile);
const env = { SLUICE_HOME: sluice.home };

/** Directory with an app, and the file with its process in PM2. */
async function appInPm2(t: Parameters<typeof temporaryDirectory>[0], name: string) {
  const directory = await temporaryDirectory(t);
  await writeFile(join(directory, 'package.json'), '{"engines":{"node":">=18"}}');
  await writeFile(
    join(directory, 'server.js'),
    "require('node:http').createServer((request, response) => response.end(process.env.GREETING)).listen(process.env.PORT);",
  );
  const dump = join(await temporaryDirectory(t), 'dump.pm2');
  const variables = { GREETING: 'it\'s "here" # and $HOME', PORT: 3000, SSH_CLIENT: '1.2.3.4', PATH: '/bin' };
  const common = {
    name,
    pm_exec_path: join(directory, 'server.js'),
    pm_cwd: directory,
    exec_mode: 'cluster_mode',
  };
  await writeFile(dump, JSON.stringify([{ ...common, env: variables }]));
  return { directory, dump };
}

test('an import creates an app with the code, the variables and the settings of PM2', async (t) => {
  const { directory, dump } = await appInPm2(t, 'My Shop');
  const dry = await cli(['import', 'pm2', '--dry-run', '--json', '--dump', dump], { env });
  assert.equal(dry.code, 0, dry.stderr);
  const { apps } = JSON.parse(dry.stdout);
  assert.deepEqual(apps[0].variables, ['GREETING']);
  assert.doesNotMatch(dry.stdout, /here/);
  assert.deepEqual(JSON.parse((await cli(['apps', '--json'], { env })).stdout), []);

  const { code, stdout, stderr } = await cli(['import', 'pm2', '--dump', dump], { env });
  assert.equal(code, 0, stdout + stderr);
  assert.match(
    stdout,
    /commit this as .+\/sluice\.json, for later pushes:\n {3}\{\n {2}"start": "node server\.js"/,
  );
  assert.doesNotMatch(stdout + stderr, /it's "here"/);
  assert.equal(await sluice.get('my-shop'), 'it\'s "here" # and $HOME');
  const release = join(sluice.home, 'apps/my-shop/production/current');
  assert.deepEqual(JSON.parse(await readFile(join(release, 'sluice.json'), 'utf8')), {
    ...{ start: 'node server.js', workers: 1, stopSignal: 'SIGINT', pm2Variables: true },
  });
  await assert.rejects(readFile(join(directory, 'sluice.json')), { code: 'ENOENT' });

  const again = await cli(['import', 'pm2', '--dump', dump], { env });
  assert.equal(again.code, 0);
  assert.match(again.stdout, /is live already/);
  assert.doesNotMatch(again.stdout, /release 2|the live app has no variable/);
});

test('a plan for a live app names what the app has not from PM2', async (t) => {
  const { directory, dump } = await appInPm2(t, 'pushed');
  const [listed] = JSON.parse(await readFile(dump, 'utf8'));
  await writeFile(dump, JSON.stringify([{ ...listed, node_version: '18.20.0' }]));
  assert.equal((await cli(['deploy', directory, '--app', 'pushed'], { env })).code, 0);
  const { stdout } = await cli(['import', 'pm2', '--dry-run', '--dump', dump], { env });
  assert.match(stdout, /note: the live app has no variable GREETING: sluice env set pushed NAME=value/);
  assert.match(stdout, /note: PM2 runs the app on Node\.js 18, and Sluice on 26: .*\{"node": "18"\}/);
});

test('a plan names the variables of the machine, and --variable imports one', async (t) => {
  const { dump } = await appInPm2(t, 'certified');
  const [listed] = JSON.parse(await readFile(dump, 'utf8'));
  const machine = { CERT_FILE_OF_MACHINE: '/ca.pem', PIP_OF_MACHINE: '1' };
  await writeFile(dump, JSON.stringify([{ ...listed, env: { ...listed.env, ...machine } }]));
  const show = (...options: string[]) =>
    cli(['import', 'pm2', '--dry-run', '--dump', dump, ...options], { env: { ...env, ...machine } });
  const { stdout } = await show();
  assert.match(stdout, /\n {2}variables +GREETING\n {2}left out +CERT_FILE_OF_MACHINE, PIP_OF_MACHINE: /);
  assert.match(stdout, /to import one: --variable NAME/);
  const wanted = await show('--json', '--variable', 'PIP_OF_MACHINE');
  const [app] = JSON.parse(wanted.stdout).apps;
  assert.deepEqual(app.variables, ['GREETING', 'PIP_OF_MACHINE']);
  assert.deepEqual(app.variablesOfMachine, ['CERT_FILE_OF_MACHINE']);
  const wrong = await show('--variable', 'GREETNIG');
  assert.equal(wrong.code, 2);
  assert.match(wrong.stderr, /no app to import has a variable GREETNIG/);
});

test('an import with a file .env and a fixed port has no note about them', async (t) => {
  const { directory, dump } = await appInPm2(t, 'fixed');
  await writeFile(join(directory, '.env'), 'SAID=from the file\nPORT=3717\n');
  await writeFile(
    join(directory, 'server.js'),
    "require('node:http').createServer((request, response) => response.end(process.env.SAID)).listen(3717);",
  );
  const args = ['import', 'pm2', '--dump', dump, '--app', 'fixed', '--port', '3717'];
  const { code, stdout, stderr } = await cli(args, { env });
  assert.equal(code, 0, stdout + stderr);
  assert.match(stdout, /variables +GREETING, SAID\n/);
  assert.match(stdout, /"port": 3717/);
  assert.equal(await sluice.get('fixed'), 'from the file');
  const [release] = await sluice.releases('fixed');
  assert.deepEqual(release?.notices, []);
});

test('without code, an import sets the variables, and a later push deploys', async (t) => {
  const { dump } = await appInPm2(t, 'later');
  const { code, stdout, stderr } = await cli(['import', 'pm2', '--no-code', '--dump', dump], { env });
  assert.equal(code, 0, stderr);
  assert.match(stdout, /"workers": 1/);
  const status = await cli(['status', 'later', '--json'], { env });
  assert.equal(JSON.parse(status.stdout).release, null);
  const variables = await cli(['env', 'list', 'later', '--json'], { env });
  const set = JSON.parse(variables.stdout) as { name: string }[];
  assert.ok(set.some(({ name }) => name === 'GREETING'));
  assert.ok(!set.some(({ name }) => name === 'SSH_CLIENT'));
});

test('an import of a name that PM2 does not have lists the names', async (t) => {
  const { dump } = await appInPm2(t, 'only');
  const { code, stderr } = await cli(['import', 'pm2', '--app', 'other', '--dump', dump], { env });
  assert.equal(code, 2);
  assert.match(stderr, /PM2 has no app other\n {2}Apps of PM2: only/);
});
