import assert from 'node:assert/strict';
import { test } from 'node:test';
import { releaseState } from '../../src/releases/release.ts';

const liveAt = '2026-01-02T03:04:05.000Z';
const error = { code: 'build_failed', message: '', hint: '', step: 'build' } as const;
const facts = { activeRelease: 2, hasTree: true, underWay: false };

test('the state of a release follows from its record and its files', () => {
  const fresh = { number: 3, liveAt: null, error: null };
  assert.equal(releaseState(fresh, { ...facts, underWay: true }), 'building');
  assert.equal(releaseState({ ...fresh, error }, facts), 'failed');
  assert.equal(releaseState(fresh, facts), 'failed');
  assert.equal(releaseState(fresh, { ...facts, activeRelease: 3, underWay: true }), 'live');
  assert.equal(releaseState({ ...fresh, liveAt }, { ...facts, activeRelease: 3 }), 'live');
  assert.equal(releaseState({ ...fresh, liveAt }, facts), 'retained');
  assert.equal(releaseState({ ...fresh, liveAt }, { ...facts, hasTree: false }), 'removed');
});
