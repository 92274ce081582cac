import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import type { DeployEvent } from '../../src/deploy/events.ts';
import type { GenerationSpec, JobSpec } from '../../src/protocol/runner.ts';
import { idOf, TestService } from '../support/service.ts';
import { untilRemoved } from '../support/tree.ts';

test('values of env files that start commands name are masked, and removed with the files of the release', async (t) => {
  const server = await TestService.start(t);
  const text = (number: number) => readFile(server.environment('shop').release(number).record, 'utf8');
  const lines: string[] = [];
  const watch = (event: DeployEvent) => void (event.event === 'log' && lines.push(event.line));
  const deploy = (value: string) => {
    const files = {
      'package.json': {
        scripts: { start: '. ./own.env && env-cmd -f cmd.env node --env-file=.env server.js' },
      },
      'sluice.json': {
        hooks: { preBuild: 'build', preSwitch: 'migrate' },
        processes: { mail: { command: 'node --env-file=mail.env server.js' } },
        keepReleases: 2,
      },
      'server.js': '',
      '.env': `TOKEN=token-${value}\n`,
      'own.env': `OWN=own-${value}-value\nPORT=1\n`,
      'cmd.env': `CMD=cmd-${value}-value\n`,
      'mail.env': `KEY=key-${value}\n`,
    };
    server.runner.onJob = (_job: JobSpec, print) => print(`has token-${value} and key-${value}\n`);
    return server.deploy('shop', files as never, watch);
  };
  await deploy('one');
  assert.equal(lines.filter((line) => line === 'has •••••• and ••••••').length, 2, lines.join('\n'));
  const spec: GenerationSpec | undefined = server.runner.active.get('shop')?.spec;
  assert.deepEqual(spec?.log.secrets, ['token-one', 'own-one-value', 'cmd-one-value', 'key-one']);
  assert.notEqual(spec?.env['PORT'], '1');
  assert.match(await text(1), /token-one/);

  await deploy('two');
  await deploy('three');
  assert.match(await text(2), /token-two/, 'a rollback needs it');
  await untilRemoved(server.environment('shop').release(1).directory);
  assert.doesNotMatch(await text(1), /token-one|key-one|own-one|cmd-one/);

  const { store } = await server.service.find(idOf('shop'));
  const { number } = await store.allocate({ ...(await store.get(3))?.source } as never);
  await store.update(number, { run: (await store.get(3))?.run ?? null });
  await store.fail(number, { code: 'hook_failed', message: '', hint: '', step: 'preSwitch' });
  assert.doesNotMatch(await text(number), /three/);
});
