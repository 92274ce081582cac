import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answering } from '../support/apps.ts';
import { startSluice } from '../support/server.ts';

test('an app that requires another Node.js goes live, with a notice', async (t) => {
  const sluice = await startSluice(t);
  const { state, notices } = await sluice.deploy('old', { ...answering('hello'), '.nvmrc': '20' });
  assert.equal(state, 'live');
  assert.deepEqual(
    notices.map(({ code }) => code),
    ['other_node_version'],
  );
});
