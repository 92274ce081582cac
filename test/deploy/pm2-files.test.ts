import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ListedVariable } from '../../src/service/variables.ts';
import { hostileFiles } from '../support/hostile-pm2.ts';
import { Isolated, withoutRoot } from '../support/isolated.ts';
import { type Files, pack } from '../support/pack.ts';
import { processesOfHome } from '../support/processes.ts';
import { startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';

const server = `
  const { PORT, NODE_ENV, COLOR, OWN, SECRET, NODE_APP_INSTANCE } = process.env;
  require('node:http')
    .createServer((q, r) => r.end(JSON.stringify({ NODE_ENV, COLOR, OWN, SECRET, argv: process.argv.slice(2) })))
    .listen(PORT);
`;

function exporting(app: object): string {
  return `module.exports = { apps: [${JSON.stringify({ name: 'shop', script: 'server.js', ...app })}] };`;
}

function withFile(text: string, more: Files = {}): Files {
  return { 'server.js': server, 'ecosystem.config.js': text, ...more };
}

test('a file of PM2 is the configuration of an app', async (t) => {
  const sluice = await startSluice(t, { env: { SECRET_OF_SLUICE: 'x' }, check: true });
  const answer = async (app: string, environment = 'production') => {
    const { url } = await sluice.call<{ url: string }>('GET', `/v1/apps/${app}?environment=${environment}`);
    return (await (await fetch(url)).json()) as Record<string, unknown>;
  };

  await t.test('in each environment', async () => {
    const app = {
      ...{ instances: 2, args: ['-a', 'b c'], env: { COLOR: 'red', PORT: 80 } },
      ...{ env_production: { OWN: 1 }, env_staging: { COLOR: 'blue' } },
    };
    await sluice.deploy('shop', withFile(exporting(app)));
    const argv = ['-a', 'b c'];
    assert.deepEqual(await answer('shop'), { NODE_ENV: 'production', COLOR: 'red', OWN: '1', argv });
    assert.equal((await sluice.status('shop')).workers.length, 2);
    await sluice.deploy('shop', withFile(exporting(app)), 'staging');
    assert.deepEqual(await answer('shop', 'staging'), { NODE_ENV: 'staging', COLOR: 'blue', argv });
  });

  await t.test('with the variables of the app, which take precedence over its own', async () => {
    await sluice.call('PATCH', '/v1/apps/vars/env', { SECRET: 'open-sesame', COLOR: 'green' });
    const text = `module.exports = { apps: { script: 'server.js', env: {
      COLOR: 'red', SECRET: process.env.SECRET, OWN: [process.env.SECRET_OF_SLUICE, process.env.SLUICE_APP].join() } } };`;
    await sluice.deploy('vars', withFile(text));
    const { COLOR, SECRET, OWN } = await answer('vars');
    assert.deepEqual([COLOR, SECRET, OWN], ['green', 'open-sesame', ',vars']);
  });

  await t.test('and its other apps are background processes, with their own variables', async () => {
    const code = `console.log('worker', process.env.COLOR, process.env.OWN, process.env.NODE_ENV); setInterval(() => {}, 1000);`;
    const apps = [
      { name: 'shop', script: 'server.js', env: { PORT: 80, COLOR: 'red', NODE_ENV: 'x' } },
      { name: 'Worker 1', script: 'worker.js', env: { OWN: 'mine' } },
      { name: 'shell', script: 'loop.sh', args: 'a "b c"' },
    ];
    await sluice.deploy('several', {
      ...withFile(`module.exports = ${JSON.stringify({ apps })}`),
      'worker.js': code,
      'loop.sh': 'echo "shell $0 $1 $2"; sleep 600',
    });
    const log = async () => (await sluice.request('/v1/apps/several/logs')).text();
    for (const line of ['worker undefined mine x', 'shell loop.sh a b c'])
      await waitFor(async () => (await log()).includes(line), { what: line });
    const listed = await sluice.call<ListedVariable[]>('GET', '/v1/apps/several/variables');
    assert.deepEqual(
      listed.map(({ name, value, origin, processes }) => [name, value, origin, processes]),
      [
        ['COLOR', 'red', 'ecosystem.config.js', ['web']],
        ['NODE_ENV', 'x', 'ecosystem.config.js', null],
        ['OWN', 'mine', 'ecosystem.config.js', ['worker-1']],
      ],
    );
  });

  await t.test('and packages of its apps are installed and built', async () => {
    const manifest = { name: 'web', version: '1.0.0', dependencies: { color: 'file:./color' } };
    const build = { build: `node -e "require('fs').writeFileSync('built.js', 'module.exports = 1')"` };
    await sluice.deploy('packages', {
      'ecosystem.config.js': exporting({ cwd: 'web', env: { PORT: 80 } }),
      'web/server.js': `require('./built'); process.env.OWN = require('color'); ${server}`,
      'web/package.json': { ...manifest, scripts: build },
      'web/color/package.json': { name: 'color', version: '1.0.0', main: 'index.js' },
      'web/color/index.js': `module.exports = 'yellow';`,
    });
    assert.equal((await answer('packages'))['OWN'], 'yellow');
  });

  await t.test('also if it needs a package that the install adds', async () => {
    const text = `const color = require('color'); ${exporting({ instances: 2 }).replace('apps: [{', 'apps: [{ env: { COLOR: color }, ')}`;
    await sluice.deploy('package', {
      ...withFile(text),
      'package.json': { name: 'app', version: '1.0.0', dependencies: { color: 'file:./color' } },
      'color/package.json': { name: 'color', version: '1.0.0', main: 'index.js' },
      'color/index.js': `module.exports = 'yellow';`,
    });
    assert.equal((await answer('package'))['COLOR'], 'yellow');
    assert.equal((await sluice.status('package')).workers.length, 2);
  });
});

test('a secret that a file of PM2 passes on under another name stays secret, also after a change', async (t) => {
  // `sluice check` has no secrets of the server.
  const sluice = await startSluice(t, { check: false });
  await sluice.call('PATCH', '/v1/apps/passes/env', { STRIPE_SK: 'sk-first-value' });
  const worker = 'setInterval(() => console.log("has", process.env.HOOK, process.env.OWN), 20);';
  const text = `const { STRIPE_SK } = process.env; module.exports = { apps: [
      { script: 'server.js', args: ['--key', STRIPE_SK], env: { STRIPE: STRIPE_SK, OWN: 'mine' } },
      { name: 'worker', script: 'worker.js', env: { HOOK: 'https://x.example/' + STRIPE_SK, OWN: 'mine' } } ] };`;
  await sluice.deploy('passes', withFile(text, { 'worker.js': worker }));
  const logged = async () =>
    (await (await sluice.request('/v1/apps/passes/logs?lines=100000')).text())
      .split('\n')
      .filter((line) => line.endsWith(' mine'));
  const check = async () => {
    const before = (await logged()).length;
    const lines = await waitFor(async () => {
      const now = await logged();
      return now.length > before + 5 && now;
    });
    for (const line of lines) assert.ok(!line.includes('first-value'), line);
    const status = JSON.stringify(await sluice.call('GET', '/v1/apps/passes'));
    assert.match(status, /server\.js --key ••••••/);
    assert.doesNotMatch(status, /first-value/);
    const list = await sluice.call<ListedVariable[]>('GET', '/v1/apps/passes/variables');
    for (const { name, value } of list)
      assert.equal(value, name === 'OWN' ? 'mine' : null, `${name} ${JSON.stringify(list)}`);
    assert.ok(list.some(({ name }) => name === 'HOOK') && list.some(({ name }) => name === 'STRIPE'));
  };
  await check();
  await sluice.call('PATCH', '/v1/apps/passes/env', { STRIPE_SK: 'sk-second-value' });
  await check();
});

test('notes about a file of PM2 show no value of a variable', async (t) => {
  const sluice = await startSluice(t, { check: false });
  await sluice.call('PATCH', '/v1/apps/noted/env', { SECRET: 'open-sesame' });
  const text = `module.exports = { apps: [{ script: 'server.js' },
      { name: 'late', script: 'server.js', cwd: '/srv/' + process.env.SECRET }] };`;
  const release = await sluice.deploy('noted', withFile(text));
  const notes = JSON.stringify(release.notices);
  assert.match(notes, /pm2_path_changed/);
  const log = await (await sluice.request(`/v1/apps/noted/releases/${release.number}/log`)).text();
  assert.doesNotMatch(notes + log, /open-sesame/);
});

test('a hostile file of PM2 fails the deploy, and leaves no process', async (t) => {
  const sluice = await startSluice(t, { env: { SECRET_OF_SLUICE: 'x' } });
  const { staging } = sluice.paths.environment({ app: 'shop', environment: 'production' });
  const attacks = Object.entries(hostileFiles).filter(([, { isEndless }]) => !isEndless);
  for (const [title, { file = 'ecosystem.config.js', text, error }] of attacks) {
    await t.test(title, async () => {
      const deploy = sluice.deploy('shop', { 'server.js': server, [file]: text });
      if (error === undefined) await deploy;
      else await assert.rejects(deploy, { code: 'invalid_pm2_file', message: error });
      await waitFor(async () => (await processesOfHome(staging)).length === 0, {
        what: 'the end of all processes',
      });
    });
  }
});

test('a file of PM2 is evaluated as the user of the app', { skip: withoutRoot }, async (t) => {
  const { sluice } = await Isolated.start(t);
  const text = `const { readFileSync, writeFileSync } = require('node:fs');
    const tried = ['/proc/1/environ', '${sluice.home}/config.json'].map((path) => {
      try { return readFileSync(path, 'utf8') && 'read'; } catch (error) { return error.code; }
    });
    ${exporting({}).replace('apps: [{', 'apps: [{ env: { COLOR: tried.join(), OWN: process.getuid() }, ')}`;
  // `sluice check` evaluates the file as its own user, so its outcome is another one.
  const body = new Uint8Array(await pack(withFile(text)));
  const answer = await sluice.request('/v1/apps/shop/releases', { method: 'POST', body });
  assert.equal(answer.status, 201, await answer.text());
  const { COLOR, OWN } = JSON.parse(await sluice.get('shop'));
  assert.deepEqual(COLOR, 'EACCES,EACCES');
  assert.notEqual(OWN, '0');
});
