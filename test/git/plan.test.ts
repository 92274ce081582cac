import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AppSettings } from '../../src/config/app-settings.ts';
import type { RefUpdate } from '../../src/git/refs.ts';
import { planPush } from '../../src/push/plan.ts';

const none = '0'.repeat(40);
const before = 'a'.repeat(40);
const after = 'b'.repeat(40);

const update = (ref: string, change: Partial<RefUpdate> = {}): RefUpdate => {
  return { ref, old: none, new: after, ...change };
};

/** Plans a push to a repository that has every commit, and whose commits have these settings. */
function plan(
  updates: RefUpdate[],
  settings: Pick<AppSettings, 'branches'> = {},
  { type = 'commit', has = true, isCut = false } = {},
) {
  const repository = { has: async () => has, typeOf: async () => type };
  return planPush('shop', { updates, isCut }, repository, async () => settings as AppSettings);
}

async function environmentOf(branch: string, settings: Pick<AppSettings, 'branches'>): Promise<string> {
  const planned = await plan([update(`refs/heads/${branch}`)], settings);
  assert.equal(planned.action, 'deploy');
  return planned.action === 'deploy' ? planned.environment : '';
}

test('main and master deploy into production, other branches into the environment that sluice.json assigns', async () => {
  const branches = { staging: ['develop', 'main'], preview: ['next'] };
  assert.equal(await environmentOf('main', {}), 'production');
  assert.equal(await environmentOf('master', {}), 'production');
  assert.equal(await environmentOf('main', { branches }), 'staging');
  assert.equal(await environmentOf('master', { branches }), 'production');
  assert.equal(await environmentOf('next', { branches }), 'preview');
  assert.equal(await environmentOf('stable/1.x', { branches: { production: ['stable/1.x'] } }), 'production');
});

test('a branch without an environment is refused with the branches that deploy', async () => {
  await assert.rejects(plan([update('refs/heads/feature')], { branches: { staging: ['develop', 'next'] } }), {
    code: 'push_refused',
    message:
      'the branch feature does not deploy (branches that deploy: main or master into production, develop or next into staging)',
    hint: 'Give the branch an environment in sluice.json, commit, and push again: "branches": {"feature": "feature"}. Or send the directory without git: sluice deploy --app shop@feature. See docs/git.md.',
  });
  await assert.rejects(plan([update('refs/heads/main')], { branches: { production: ['live'] } }), {
    hint: /git push deploy main:live/,
  });
  const staging = [update('refs/heads/staging')];
  await assert.rejects(plan(staging), { hint: /"branches": \{"staging": "staging"\}.+shop@staging/ });
  await assert.rejects(plan(staging, { branches: { staging: ['develop'] } }), {
    hint: 'The branch develop deploys into staging: git push deploy HEAD:develop.',
  });
  await assert.rejects(plan([update('refs/heads/feature/cart')]), {
    hint: /"branches": \{"staging": "feature\/cart"\}/,
  });
});

const refusals: Record<string, [Parameters<typeof plan>, RegExp]> = {
  'several branches': [
    [[update('refs/heads/main'), update('refs/heads/master')]],
    /^a push deploys one branch, and this push has 2: main, master$/,
  ],
  'a tag alone': [[[update('refs/tags/v1')]], /^a tag alone deploys nothing$/],
  'a ref that is no branch': [
    [[update('refs/heads/main'), update('refs/notes/commits')]],
    /^refs\/notes\/commits is not a branch$/,
  ],
  'a branch at a tag': [
    [[update('refs/heads/main')], {}, { type: 'tag' }],
    /^the branch main would point at a tag instead of a commit$/,
  ],
  'the deletion of a branch': [
    [[update('refs/heads/main', { old: before, new: none })]],
    /^the branch main shows what runs and cannot be deleted$/,
  ],
  'a branch that is elsewhere on the server': [
    [[update('refs/heads/main', { old: before })], {}, { has: false }],
    /^on the server, main is not at a{40}$/,
  ],
  'too many refs': [
    [[update('refs/heads/main')], {}, { isCut: true }],
    /^the push has too many refs: more than 1$/,
  ],
};

for (const [push, [args, message]] of Object.entries(refusals)) {
  test(`a push of ${push} is refused`, async () => {
    await assert.rejects(plan(...args), { code: 'push_refused', message });
  });
}

test('tags are accepted with a branch, and deletions of tags alone', async () => {
  const withBranch = await plan([update('refs/heads/main'), update('refs/tags/v1')]);
  assert.equal(withBranch.action, 'deploy');
  assert.deepEqual(await plan([update('refs/tags/v1', { old: before, new: none })]), {
    action: 'accept',
    note: 'Nothing is deployed.',
  });
});

test('an unchanged branch deploys nothing, and the note shows how to deploy again', async () => {
  const planned = await plan([update('refs/heads/main', { old: after })]);
  assert.match(planned.action === 'accept' ? planned.note : '', /unchanged[\s\S]*sluice restart shop/);
});
