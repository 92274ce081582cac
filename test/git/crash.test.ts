import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type DeployStep, deploySteps } from '../../src/deploy/events.ts';
import { answering, answeringWhenBuilt, answeringWithHooks } from '../support/apps.ts';
import { Checkout, remoteBranches } from '../support/git.ts';
import { startSluice } from '../support/server.ts';
import { Visitor } from '../support/visitor.ts';

const preload = fileURLToPath(new URL('../support/crash-at-step.ts', import.meta.url));
const env = { NODE_OPTIONS: `--import=${preload}` };

const ofBuild: DeployStep[] = ['install', 'build', 'prune'];
/** Steps at which the new release has the traffic, and git has not accepted the push yet. */
const afterSwitch: DeployStep[] = ['record', 'postSwitch', 'clean'];

test('after a kill at any step of a push, the branches show what runs, and the same push works (thorough)', async (t) => {
  const sluice = await startSluice(t, { env });
  const checkout = await Checkout.create(t);
  let live = await checkout.commit('First', answering('release 1'));
  await checkout.git('push', sluice.gitUrl('shop'), 'main');
  await using visitor = new Visitor((await sluice.status('shop')).url);

  for (const step of deploySteps) {
    await t.test(`killed at ${step}`, async () => {
      const files = ofBuild.includes(step) ? answeringWhenBuilt(step) : answeringWithHooks(step);
      await checkout.git('rm', '-r', '--quiet', '.');
      const commit = await checkout.commit(`Killed at ${step}`, files);
      await writeFile(join(sluice.home, 'crash-at'), step);
      const { code, output } = await checkout.try('push', sluice.gitUrl('shop'), 'main');
      assert.notEqual(code, 0, output);
      await sluice.ended();
      assert.ok(!existsSync(join(sluice.home, 'crash-at')), `the push got to ${step}`);
      await sluice.up(env);

      const [release] = await sluice.releases('shop');
      assert.equal(release?.commit, commit);
      assert.equal(release.state, afterSwitch.includes(step) ? 'live' : 'failed');
      // git drops a push that it has not accepted, so its commit has no branch.
      const branches = afterSwitch.includes(step) ? {} : { main: live };
      assert.deepEqual(await remoteBranches(checkout, sluice.gitUrl('shop')), branches);

      const again = await checkout.try('push', sluice.gitUrl('shop'), 'main');
      assert.equal(again.code, 0, again.output);
      assert.equal(await sluice.get('shop'), step);
      assert.deepEqual(await remoteBranches(checkout, sluice.gitUrl('shop')), { main: commit });
      live = commit;
    });
  }
  const { answers, failures } = await visitor.leave();
  assert.deepEqual(failures, []);
  assert.ok(answers > 100, `${answers} requests were answered meanwhile`);
});

test('locks of a killed git do not block later pushes (thorough)', async (t) => {
  const sluice = await startSluice(t);
  const checkout = await Checkout.create(t);
  await checkout.commit('One', answering('one'));
  await checkout.git('push', sluice.gitUrl('shop'), 'main');
  await sluice.kill();
  const repository = sluice.paths.repository('shop');
  for (const name of [
    'refs/heads/main.lock',
    'packed-refs.lock',
    'HEAD.lock',
    'shallow.lock',
    'objects/info/commit-graph.lock',
  ]) {
    await mkdir(dirname(join(repository, name)), { recursive: true });
    await writeFile(join(repository, name), '');
  }
  await mkdir(join(repository, 'objects/tmp_objdir-incoming-abcdef/pack'), { recursive: true });
  await sluice.up();
  assert.deepEqual(
    (await readdir(join(repository, 'objects'))).filter((name) => name.startsWith('tmp_')),
    [],
  );
  await checkout.commit('Two', answering('two'));
  const { code, output } = await checkout.try('push', sluice.gitUrl('shop'), 'main');
  assert.equal(code, 0, output);
  await checkout.git('-C', repository, 'gc', '--quiet');
});
