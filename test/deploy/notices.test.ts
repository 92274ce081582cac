import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answering } from '../support/apps.ts';
import { startSluice } from '../support/server.ts';

test('a deploy of an app that asks for another Node.js goes live, and says so', async (t) => {
  const sluice = await startSluice(t);
  const { state, notices } = await sluice.deploy('old', { ...answering('hello'), '.nvmrc': '20' });
  assert.equal(state, 'live');
  assert.deepEqual(
    notices.map(({ code }) => code),
    ['other_node_version'],
  );
});
