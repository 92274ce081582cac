import assert from 'node:assert/strict';
import { mkdir, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { nodePath } from '../../src/build/node-version/installed.ts';
import type { DeployEvent } from '../../src/deploy/events.ts';
import type { GenerationSpec } from '../../src/protocol/runner.ts';
import { appLog, linesOf } from '../support/app-log.ts';
import { answering, answeringWithHooks } from '../support/apps.ts';
import { FakeNpm } from '../support/fake-npm.ts';
import { startSluice } from '../support/server.ts';
import { idOf, TestService } from '../support/service.ts';
import { waitFor } from '../support/wait.ts';

const shop = idOf('shop');
const own = process.versions.node;
const asking = (version: string) => ({ ...answering('one'), '.nvmrc': version });

/** Starts a service with a registry of some versions of Node.js. */
async function start(t: TestContext) {
  const server = await TestService.start(t);
  const npm = new FakeNpm(['20.1.0', '20.2.0', '22.1.0', '22.2.0', own]);
  server.runner.onJob = npm.run;
  const { tools } = server.paths;
  return {
    ...{ server, npm, tools },
    path: (version: string) => nodePath(tools, version),
    /** Returns the lines of a deploy. */
    async deploy(files: Record<string, unknown>, app = 'shop'): Promise<string[]> {
      const lines: string[] = [];
      const watch = (event: DeployEvent) => void (event.event === 'log' && lines.push(event.line));
      await server.deploy(app, files as never, watch);
      return lines;
    },
    spec: (app = 'shop') => server.runner.active.get(app)?.spec as GenerationSpec,
    record: async (release: number) => (await server.service.find(shop)).store.get(release),
    restart: () => server.service.changeRunState('restart', shop, 'test'),
    /** Makes a version look as if it was used last a long time ago. */
    async age(version: string): Promise<void> {
      await utimes(join(tools, `node@${version}`), new Date(0), new Date(0));
    },
  };
}

test('an app runs on the newest Node.js that it asks for, and its release records the version', async (t) => {
  const { server, npm, deploy, spec, record, path } = await start(t);
  const lines = await deploy(asking('22'));
  assert.ok(lines.includes('Node.js 22.2.0: .nvmrc asks for 22'), lines.join('\n'));
  const { node, env } = spec();
  assert.equal(node, path('22.2.0'));
  const programs = env['PATH']?.split(delimiter).filter((part) => !part.endsWith('node_modules/.bin'));
  assert.equal(programs?.[0], dirname(node));
  const requests = [{ from: '.nvmrc', text: '22' }];
  assert.deepEqual((await record(1))?.node, { version: '22.2.0', own: false, requests });
  const name = `node-linux-${process.arch}`;
  assert.deepEqual(npm.calls, [`view ${name} versions`, `install ${name}@22.2.0`]);

  await deploy(asking('>=20 <23'), 'blog');
  assert.equal(server.runner.active.get('blog')?.spec.node, node);
  assert.equal(npm.calls.length, 2, 'the second app uses the list and the installation of the first');
});

test('an app that accepts the Node.js of Sluice uses it, and npm does not run', async (t) => {
  const { server, npm, deploy, spec, record } = await start(t);
  await deploy(asking('>=18'));
  assert.equal(spec().node, server.appliance.node);
  assert.equal((await record(1))?.node?.own, true);
  assert.deepEqual(npm.calls, []);
});

test('build and hooks have the Node.js of the app first in their PATH', async (t) => {
  const { server, npm, path } = await start(t);
  const first = new Set<string | undefined>();
  server.runner.onJob = (job, print) => {
    if (job.user !== null)
      first.add(job.env['PATH']?.split(delimiter).find((part) => !part.endsWith('.bin')));
    return npm.run(job, print);
  };
  await server.deploy('shop', { ...answeringWithHooks('one'), '.nvmrc': '22' });
  assert.deepEqual([...first], [dirname(path('22.2.0'))]);
});

test('a version that does not exist is refused before the build, and the new app is not created', async (t) => {
  const { server, deploy } = await start(t);
  await assert.rejects(deploy({ ...asking('>=99'), 'sluice.json': { hooks: { preBuild: 'exit 1' } } }), {
    code: 'unsupported_node_version',
  });
  await assert.rejects(server.service.status(shop), { code: 'app_not_found' });
});

test('a failed installation fails the deploy, and leaves nothing in the cache', async (t) => {
  const { npm, deploy, tools } = await start(t);
  npm.before = () => {
    if (npm.calls.length > 1) throw new Error('npm is killed');
  };
  await assert.rejects(deploy(asking('22')), { message: 'npm is killed' });
  assert.deepEqual(await readdir(tools), []);
});

test('without a network, an app gets an installed version that it accepts', async (t) => {
  const { server, npm, deploy, spec, path, record } = await start(t);
  await deploy(asking('22.1.0'));
  await rm(server.paths.nodeList);
  npm.before = () => {
    throw new Error('no network');
  };
  const lines = await deploy(asking('22'));
  assert.equal(spec().node, path('22.1.0'));
  assert.equal((await record(2))?.node?.version, '22.1.0');
  assert.ok(lines.includes('the list of Node.js versions was not read again: no network'), lines.join('\n'));
  await assert.rejects(deploy(asking('22.2.0')), { message: /^no network$|no such Node/ });
});

test('a rollback and a restart use the Node.js of the release, and install it again if it is gone', async (t) => {
  const { server, deploy, spec, restart, path, tools } = await start(t);
  await deploy(asking('22.1.0'));
  await deploy(asking('20'));
  assert.equal(spec().node, path('20.2.0'));
  await rm(tools, { recursive: true });
  await server.service.rollback(shop, null, 'test');
  assert.equal(spec().node, path('22.1.0'));
  await restart();
  assert.equal(spec().node, path('22.1.0'));
  assert.deepEqual(await readdir(tools), ['node@22.1.0']);
});

test('after an upgrade of Sluice, a release on its Node.js gets the new one at its next start', async (t) => {
  const { server, deploy, spec, restart, record } = await start(t);
  await deploy(asking('>=18'));
  const { store } = await server.service.find(shop);
  const requests = [{ from: '.nvmrc', text: '>=18' }];
  const older = `${process.versions.node.split('.')[0]}.0.0`;
  await store.update(1, { node: { version: older, own: true, requests } });
  await restart();
  assert.equal(spec().node, server.appliance.node);
  assert.deepEqual((await record(1))?.node, { version: own, own: true, requests });
});

test('a release on an earlier major version of Node.js keeps it: its native addons work with no other', async (t) => {
  const { server, deploy, spec, restart, path, record } = await start(t);
  await deploy(answering('one'));
  const { store } = await server.service.find(shop);
  await store.update(1, { node: { version: '22.1.0', own: true, requests: [] } });
  await restart();
  assert.equal(spec().node, path('22.1.0'));
  assert.deepEqual((await record(1))?.node, { version: '22.1.0', own: false, requests: [] });
});

test('a release of an early version of Sluice runs on the Node.js of Sluice', async (t) => {
  const { server, deploy, spec, restart } = await start(t);
  await deploy(answering('one'));
  const { store } = await server.service.find(shop);
  await store.update(1, { node: undefined as never });
  await restart();
  assert.equal(spec().node, server.appliance.node);
});

test('a deploy removes versions of Node.js that no kept release needs and that were not used lately', async (t) => {
  const { deploy, tools, age, record } = await start(t);
  await deploy(asking('20.1.0'));
  await deploy(asking('20.2.0'), 'blog');
  for (const version of ['22.1.0', '22.2.0', '22.3.0']) {
    await mkdir(dirname(nodePath(tools, version)), { recursive: true });
    await writeFile(nodePath(tools, version), '');
  }
  for (const version of ['20.1.0', '20.2.0', '22.1.0', '22.2.0']) await age(version);
  const lines = await deploy({ ...answering('one'), 'sluice.json': { keepReleases: 2 } });
  assert.deepEqual((await readdir(tools)).sort(), ['node@20.1.0', 'node@20.2.0', 'node@22.3.0']);
  assert.ok(lines.includes('removed Node.js 22.1.0, 22.2.0: no release needs them'), lines.join('\n'));

  await deploy({ ...answering('one'), 'sluice.json': { keepReleases: 2 } });
  assert.equal((await record(1))?.node?.version, '20.1.0');
  assert.deepEqual((await readdir(tools)).sort(), ['node@20.2.0', 'node@22.3.0']);
});

test('while another app installs a Node.js, a deploy on an installed one ends, and versions in use stay', async (t) => {
  const { server, deploy, tools, age } = await start(t);
  await deploy(asking('20'), 'blog');
  for (const version of ['22.1.0', '22.2.0']) {
    await mkdir(dirname(nodePath(tools, version)), { recursive: true });
    await writeFile(nodePath(tools, version), '');
    await age(version);
  }
  const { nodeLock, nodeVersions } = server.appliance;
  using _installation = await nodeLock.take();
  using _use = await nodeVersions.take('22.2.0');
  const lines = await deploy(asking('20'));
  assert.ok(lines.includes('removed Node.js 22.1.0: no release needs them'), lines.join('\n'));
  assert.deepEqual((await readdir(tools)).sort(), ['node@20.2.0', 'node@22.2.0']);
});

test('a deploy keeps the Node.js of a one-off command that runs', async (t) => {
  const { server, deploy, tools, age, path } = await start(t);
  await deploy(asking('20'), 'blog');
  await mkdir(dirname(path('22.1.0')), { recursive: true });
  await writeFile(path('22.1.0'), '');
  const running = {
    id: '1',
    key: 'shop',
    release: 1,
    command: 'x',
    by: 'ann',
    detached: false,
    startedAt: '',
  };
  server.runner.running.push({ ...running, node: path('22.1.0') });
  for (const kept of [['node@20.2.0', 'node@22.1.0'], ['node@20.2.0']]) {
    await age('22.1.0');
    await deploy(asking('20'), 'blog');
    assert.deepEqual((await readdir(tools)).sort(), kept);
    server.runner.running.pop();
  }
});

test('a deploy that needs a version waits for its removal, and installs it again', async (t) => {
  const { server, deploy, tools } = await start(t);
  await deploy(asking('22.1.0'));
  const removal = await server.appliance.nodeVersions.take('22.1.0');
  const chosen = Promise.withResolvers<void>();
  const deployed = server.deploy('blog', asking('22.1.0') as never, (event) => {
    if (event.event === 'log' && event.line.startsWith('Node.js 22.1.0')) chosen.resolve();
  });
  await chosen.promise;
  await server.service
    .find(idOf('blog'))
    .then(({ store }) => waitFor(async () => (await store.get(1))?.node));
  await rm(join(tools, 'node@22.1.0'), { recursive: true });
  removal[Symbol.dispose]();
  await deployed;
  assert.deepEqual(await readdir(tools), ['node@22.1.0']);
});

/** Returns the outcome of an update, and the version on which the app then runs. */
async function update({ server, spec, record }: Awaited<ReturnType<typeof start>>, release: number) {
  const { from, to, outcome } = await server.service.updateNode(shop, 'test');
  const { version } = (await record(release))?.node ?? {};
  return `${from} → ${to} ${outcome}, recorded ${version}, ${nameOf(spec().node)}`;
}

/** Returns the version in the path of a Node.js. */
function nameOf(path: string): string {
  return /node@([^/]+)/.exec(path)?.[1] ?? 'own';
}

test('an update moves an app to the newest patch that it accepts, by a switch', async (t) => {
  const context = await start(t);
  const { server, npm, deploy, tools, age } = context;
  npm.versions = ['20.1.0', '22.1.0'];
  await deploy(asking('22'));
  await age('22.1.0');
  npm.versions.push('22.2.0', '24.1.0');
  await rm(server.paths.nodeList);
  const switches = () => server.runner.calls.filter((name) => name === 'switch').length;
  assert.equal(await update(context, 1), '22.1.0 → 22.2.0 switched, recorded 22.2.0, 22.2.0');
  assert.equal(switches(), 2);
  assert.equal(await update(context, 1), '22.2.0 → 22.2.0 unchanged, recorded 22.2.0, 22.2.0');
  assert.equal(switches(), 2);
  // Workers that drain still use the former version.
  await deploy(asking('22'));
  assert.deepEqual((await readdir(tools)).sort(), ['node@22.1.0', 'node@22.2.0']);
  const actions = (await server.history()).map(({ action, outcome }) => `${action} ${outcome}`);
  assert.deepEqual(actions, ['deploy done', 'node update done', 'node update done', 'deploy done']);
});

test('an update keeps the major version, and a version that the app names exactly', async (t) => {
  const context = await start(t);
  const { server, npm, deploy } = context;
  npm.versions = ['20.1.0', '22.1.0'];
  await deploy(asking('>=20 <26'));
  await deploy(asking('20.1.0'), 'blog');
  npm.versions.push('20.2.0', '24.1.0');
  await rm(server.paths.nodeList);
  assert.equal(await update(context, 1), '22.1.0 → 22.1.0 unchanged, recorded 22.1.0, 22.1.0');
  assert.equal((await server.service.updateNode(idOf('blog'), 'test')).outcome, 'unchanged');
});

test('an update of an app for older versions than there are moves it in the oldest line', async (t) => {
  const context = await start(t);
  const { server, npm, deploy } = context;
  npm.versions = ['18.20.1'];
  await deploy(asking('14'));
  npm.versions.push('18.20.8');
  await rm(server.paths.nodeList);
  assert.equal(await update(context, 1), '18.20.1 → 18.20.8 switched, recorded 18.20.8, 18.20.8');
});

test('an update moves a release to the new Node.js of Sluice, also if an early version has recorded none', async (t) => {
  const context = await start(t);
  const { server, deploy } = context;
  await deploy(answering('one'));
  const { store } = await server.service.find(shop);
  const older = `${own.split('.')[0]}.0.0`;
  await store.update(1, { node: { version: older, own: true, requests: [] } });
  assert.equal(await update(context, 1), `${older} → ${own} switched, recorded ${own}, own`);
  await store.update(1, { node: undefined as never });
  assert.equal(await update(context, 1), `null → ${own} switched, recorded ${own}, own`);
  await store.update(1, { node: { version: '22.1.0', own: true, requests: [] } });
  assert.equal(await update(context, 1), '22.1.0 → 22.2.0 switched, recorded 22.2.0, 22.2.0');
});

test('an update of a stopped app takes effect at its next start, and a failed one changes nothing', async (t) => {
  const context = await start(t);
  const { server, npm, deploy, spec, record } = context;
  npm.versions = ['22.1.0'];
  await deploy(asking('22'));
  npm.versions.push('22.2.0');
  await rm(server.paths.nodeList);
  server.runner.onBoot = () => {
    throw new Error('the worker ended');
  };
  await assert.rejects(server.service.updateNode(shop, 'test'), { message: 'the worker ended' });
  assert.equal((await record(1))?.node?.version, '22.1.0');
  server.runner.onBoot = () => undefined;
  server.runner.onSwitch = () => {
    throw new Error('the switch failed');
  };
  await assert.rejects(server.service.updateNode(shop, 'test'), { message: 'the switch failed' });
  assert.equal((await record(1))?.node?.version, '22.1.0');
  server.runner.onSwitch = () => undefined;

  await server.service.changeRunState('stop', shop, 'test');
  const { outcome } = await server.service.updateNode(shop, 'test');
  assert.equal(outcome, 'pending');
  await server.service.changeRunState('start', shop, 'test');
  assert.equal(nameOf(spec().node), '22.2.0');
});

test('the overview lists installed versions with their releases, size and newest version', async (t) => {
  const { server, npm, deploy } = await start(t);
  npm.versions = ['20.1.0', '22.1.0'];
  await deploy(asking('22'));
  await deploy(answering('two'));
  await deploy(asking('20'), 'blog');
  npm.versions.push('22.2.0', '22.3.0-rc.1');
  await rm(server.paths.nodeList);
  const nodes = await server.service.nodes();
  const use = (app: string, release: number, live: boolean) => ({
    app,
    environment: 'production',
    release,
    live,
  });
  assert.deepEqual(
    nodes.map(({ sizeBytes, ...node }) => ({ ...node, hasSize: sizeBytes > 0 })),
    [
      { version: own, own: true, newest: own, hasSize: true, uses: [use('shop', 2, true)] },
      { version: '22.1.0', own: false, newest: '22.2.0', hasSize: true, uses: [use('shop', 1, false)] },
      { version: '20.1.0', own: false, newest: '20.1.0', hasSize: true, uses: [use('blog', 1, true)] },
    ],
  );
});

test('install, build, hooks, workers and processes of a real app run on its own Node.js (thorough)', async (t) => {
  const sluice = await startSluice(t);
  const log = (name: string) =>
    `require('fs').appendFileSync('versions', '${name} ' + process.version + '\\n')`;
  const files = {
    '.nvmrc': 'lts/iron',
    'package.json': {
      engines: { node: '<20.19' },
      scripts: { postinstall: `node -e "${log('install')}"`, build: `node -e "${log('build')}"` },
    },
    'server.js': `require('http').createServer((_, answer) => answer.end(
      require('fs').readFileSync('versions', 'utf8') + 'worker ' + process.version)).listen(process.env.PORT);`,
    'queue.js': `console.log('queue ' + process.version); setInterval(() => {}, 1000)`,
    'sluice.json': {
      hooks: { preSwitch: `node -e "${log('hook')}"` },
      processes: { queue: 'node queue.js' },
    },
  };
  const { node } = await sluice.deploy('shop', files);
  const version = node?.version ?? '';
  assert.match(version, /^20\.18\./);
  assert.deepEqual(
    (await sluice.get('shop')).split('\n'),
    ['install', 'build', 'hook', 'worker'].map((name) => `${name} v${version}`),
  );
  const { logs } = sluice.paths.environment(shop);
  const printed = async () => linesOf(await appLog(logs), 'queue.0').includes(`queue v${version}`);
  await waitFor(printed, { what: 'the output of the queue' });
});

/** Native addon that returns the number of the ABI for which it was compiled. */
const addon = {
  'binding.gyp': '{ "targets": [{ "target_name": "abi", "sources": ["abi.c"] }] }',
  'abi.c': `
    #include <node_api.h>
    #include <node_version.h>
    NAPI_MODULE_INIT() {
      napi_value abi;
      napi_create_uint32(env, NODE_MODULE_VERSION, &abi);
      return abi;
    }`,
};

for (const version of ['18', '20', '22']) {
  test(`a native addon is compiled with the headers of Node.js ${version}, without a download (thorough)`, async (t) => {
    const sluice = await startSluice(t, { env: { npm_config_disturl: 'http://127.0.0.1:9/' } });
    const files = {
      ...addon,
      '.nvmrc': version,
      'package.json': { scripts: { install: 'node-gyp rebuild' } },
      'server.js': `require('http').createServer((_, answer) => answer.end(
        process.versions.modules + ' ' + require('./build/Release/abi.node'))).listen(process.env.PORT);`,
    };
    await sluice.deploy('shop', files);
    const [abi, compiledFor] = (await sluice.get('shop')).split(' ');
    assert.equal(abi, compiledFor);
  });
}
