import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readdir, readlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type DeployStep, deploySteps } from '../../src/deploy/events.ts';
import { answering, answeringWhenBuilt, answeringWithHooks } from '../support/apps.ts';
import type { Files } from '../support/pack.ts';
import { type Sluice, startSluice } from '../support/server.ts';
import { Visitor } from '../support/visitor.ts';
import { waitFor } from '../support/wait.ts';

const preload = fileURLToPath(new URL('../support/crash-at-step.ts', import.meta.url));
const env = { NODE_OPTIONS: `--import=${preload}` };

/** Steps at which the new release has the traffic. */
const afterSwitch: DeployStep[] = ['record', 'postSwitch', 'clean'];
const ofBuild: DeployStep[] = ['install', 'build', 'prune'];
const ofHooks: DeployStep[] = ['preBuild', 'postBuild', 'preSwitch', 'postSwitch'];

// Each of the 15 steps takes two deploys and a start of the server.
test('a server that is killed at any step of a deploy starts again with the old or the new release', {
  timeout: 600_000,
}, async (t) => {
  const sluice = await startSluice(t, { env });
  await sluice.deploy('shop', answering('release 1'));
  const { url } = await sluice.status('shop');
  await using visitor = new Visitor(url);

  for (const step of deploySteps) {
    await t.test(`killed at ${step}`, async () => {
      const [before] = await sluice.releases('shop');
      assert.ok(before);
      const number = before.number + 1;
      const files = appFor(step);
      await crashAt(sluice, step, () => sluice.deploy('shop', files(`release ${number}`)));
      await sluice.up(env);

      const [release, old] = await sluice.releases('shop');
      assert.equal(release?.number, number);
      const live = afterSwitch.includes(step) ? number : before.number;
      if (live === number) {
        assert.equal(release.state, 'live');
        assert.ok(release.liveAt, 'it is on record when it went live');
      } else {
        assert.deepEqual([release.state, release.error?.code], ['failed', 'interrupted']);
        assert.equal(old?.state, 'live');
      }
      assert.equal(await sluice.get('shop'), `release ${live}`);
      await assertTidy(sluice, live);

      const next = await sluice.deploy('shop', answering(`release ${number + 1}`));
      assert.equal(next.state, 'live');
      assert.equal(await sluice.get('shop'), `release ${number + 1}`);
    });
  }

  const { answers, failures } = await visitor.leave();
  assert.deepEqual(failures, []);
  assert.ok(answers > 100, `${answers} requests were answered meanwhile`);
});

function appFor(step: DeployStep): (text: string) => Files {
  if (ofBuild.includes(step)) return answeringWhenBuilt;
  return ofHooks.includes(step) ? answeringWithHooks : (text) => answering(text);
}

async function crashAt(sluice: Sluice, step: DeployStep, deploy: () => Promise<unknown>): Promise<void> {
  const marker = join(sluice.home, 'crash-at');
  await writeFile(marker, step);
  await assert.rejects(deploy(), 'nobody is left to answer');
  await sluice.ended();
  assert.ok(!existsSync(marker), `the deploy got to ${step}`);
}

/** Checks that the interrupted deploy left no files, no wrong link and no worker. */
async function assertTidy(sluice: Sluice, live: number): Promise<void> {
  const paths = sluice.paths.environment({ app: 'shop', environment: 'production' });
  assert.deepEqual(await readdir(paths.staging), []);
  assert.equal(await readlink(paths.current), join('releases', String(live)));
  const leftover = (await readdir(paths.directory)).filter((name) => name.includes('.tmp'));
  assert.deepEqual(leftover, []);
  await waitFor(
    async () => (await sluice.status('shop')).workers.every((worker) => worker.release === live),
    { what: 'only workers of the live release' },
  );
}
