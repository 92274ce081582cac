import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { answering, running } from '../support/apps.ts';
import { startSluice } from '../support/server.ts';
import { wholeFile } from '../support/whole-file.ts';

const sluice = await startSluice(wholeFile);

async function buildLog(app: string, release: number): Promise<string> {
  return (await sluice.request(`/v1/apps/${app}/releases/${release}/log`)).text();
}

test('each hook runs once, at its step, and its output is in the log', async () => {
  const seen = join(sluice.home, 'seen');
  const note = (what: string) =>
    `echo ${what} ran; echo ${what} $(pwd) $(ls node_modules 2>/dev/null | grep -c builder) >> ${seen}`;
  const files = {
    ...answering('hooked', {
      hooks: {
        preBuild: note('preBuild'),
        postBuild: note('postBuild'),
        preSwitch: note('preSwitch'),
        postSwitch: note('postSwitch'),
      },
      workers: 2,
    }),
    'package.json': {
      name: 'app',
      version: '1.0.0',
      scripts: { build: `echo build $(pwd) >> ${seen}`, start: 'node server.js' },
      devDependencies: { builder: 'file:./builder' },
    },
    'builder/package.json': { name: 'builder', version: '1.0.0' },
  };
  await sluice.deploy('hooked', files);
  const target = sluice.paths.environment({ app: 'hooked', environment: 'production' });
  const [built, release] = [target.built.directory, target.release(1).directory];
  assert.deepEqual((await readFile(seen, 'utf8')).trim().split('\n'), [
    `preBuild ${built} 0`,
    `build ${built}`,
    `postBuild ${built} 1`,
    `preSwitch ${release} 0`,
    `postSwitch ${release} 0`,
  ]);
  const log = await buildLog('hooked', 1);
  const steps = [...log.matchAll(/^== (\w+)$/gm)].map(([, step]) => step);
  assert.deepEqual(steps, [
    ...['receive', 'wait', 'check', 'preBuild', 'install', 'build', 'postBuild', 'prune', 'publish'],
    ...['preSwitch', 'boot', 'switch', 'record', 'postSwitch', 'clean'],
  ]);
  for (const [hook] of log.matchAll(/^\w+ ran$/gm)) assert.match(hook, /^(pre|post)/);
  assert.equal(log.match(/^\w+ ran$/gm)?.length, 4);
});

test('preSwitch has the environment of the workers, and its output is masked', async () => {
  await sluice.call('PATCH', '/v1/apps/migrated/env', { DATABASE_URL: 'postgres://secret-password@db' });
  const migrated = join(sluice.home, 'migrated');
  const hooks = {
    preSwitch: `echo "$DATABASE_URL $NODE_ENV $SLUICE_APP $SLUICE_RELEASE $(migrate)" | tee ${migrated}`,
  };
  const boots = `
    if (!require('node:fs').existsSync(${JSON.stringify(migrated)})) throw new Error('not migrated');
    require('node:http').createServer((request, response) => response.end('up')).listen(process.env.PORT);
  `;
  const files = {
    ...running(boots, { hooks }),
    'package.json': {
      name: 'app',
      dependencies: { tool: 'file:./tool' },
      scripts: { start: 'node server.js' },
    },
    'tool/package.json': { name: 'tool', version: '1.0.0', bin: { migrate: 'migrate.js' } },
    'tool/migrate.js': '#!/usr/bin/env node\nconsole.log("by", process.version.split(".")[0]);\n',
  };
  await sluice.deploy('migrated', files);
  const node = process.version.split('.')[0];
  assert.equal(
    await readFile(migrated, 'utf8'),
    `postgres://secret-password@db production migrated 1 by ${node}\n`,
  );
  const log = await buildLog('migrated', 1);
  assert.doesNotMatch(log, /secret-password/);
});

test('a failed preSwitch stops the deploy, and the live release stays', async () => {
  await sluice.deploy('failing', answering('good'));
  const hooks = { preSwitch: 'echo "relation does not exist" >&2; exit 7' };
  await assert.rejects(
    sluice.deploy('failing', answering('never', { hooks })),
    (error: Error & { code: string }) => {
      assert.equal(error.code, 'hook_failed');
      assert.match(error.message, /ended with status 7\n {2}relation does not exist$/);
      return true;
    },
  );
  const [release] = await sluice.releases('failing');
  assert.deepEqual([release?.state, release?.error?.step], ['failed', 'preSwitch']);
  assert.equal(await sluice.get('failing'), 'good');
});

test('a failed preBuild or postBuild is reported with its step, and a hook ends at its timeout', async () => {
  for (const hook of ['preBuild', 'postBuild']) {
    await assert.rejects(sluice.deploy('stuck', answering('never', { hooks: { [hook]: 'false' } })));
    assert.equal((await sluice.releases('stuck'))[0]?.error?.step, hook);
  }
  const hooks = { preSwitch: 'sleep 60', timeout: '300ms' };
  await assert.rejects(
    sluice.deploy('stuck', answering('never', { hooks })),
    /`sleep 60` took longer than 300 ms; Sluice ended/,
  );
});

test('a process that a hook leaves running is killed and logged', async () => {
  await sluice.deploy('leaving', answering('one', { hooks: { preSwitch: 'sleep 300 & echo migrated' } }));
  assert.match(
    await buildLog('leaving', 1),
    /^`sleep 300 & echo migrated` left a process running, and Sluice killed it\. .*"processes" of sluice\.json/m,
  );
});
