import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fetchText } from '../support/http.ts';
import { freePort, TestRunner } from '../support/runner.ts';

const soon = () => ({ signal: AbortSignal.timeout(3000) });

test("a port beside the app's own is served too where its host is a name", async (t) => {
  const runner = await TestRunner.start(t);
  const other = await freePort();
  const environment = { HOW: 'beside', OTHER_PORT: String(other) };
  await runner.release(runner.spec('listening.cjs', { workers: 1 }, environment));
  assert.equal((await fetchText(other, '/', { host: 'localhost', ...soon() })).body, 'beside');
});
