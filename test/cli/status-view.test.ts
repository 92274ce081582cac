import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AppStatus } from '../../src/apps/status.ts';
import { describeApp } from '../../src/cli/status-view.ts';

test('the status of an app lists the metrics that its processes declare', () => {
  const worker = {
    ...{ pid: 1, instance: 0, generation: 1, release: 7, state: 'open' as const, restarts: 0 },
    ...{ startedAt: new Date().toISOString(), cpuPercent: 1, memoryBytes: 1024, eventLoopDelayMs: 1 },
    ...{ connections: 0, requests: 0 },
  };
  const app: AppStatus = {
    ...{ name: 'shop', environment: 'production', state: 'running', since: new Date().toISOString() },
    ...{ crash: null, problem: null, url: 'http://127.0.0.1:9001', port: 9001, domains: [], release: 7 },
    ...{ node: null, changedSinceBuild: [], wanted: 2, exec: null, background: [], cron: [], oneOffs: [] },
    ...{ reach: 'server', host: '127.0.0.1' },
    ...{ descriptors: 1, deploying: [], rebuild: null },
    workers: [
      { ...worker, metrics: [{ name: 'Users', value: 12, unit: 'people' }] },
      { ...worker, instance: 1, metrics: [{ name: 'Cache', value: true, unit: '' }] },
    ],
  };
  const lines = describeApp(app).split('\n');
  const from = lines.findIndex((line) => line.startsWith('PROCESS'));
  assert.deepEqual(
    lines.slice(from).map((line) => line.trim().split(/ {2,}/)),
    [
      ['PROCESS', 'METRIC', 'VALUE'],
      ['web.0', 'Users', '12 people'],
      ['web.1', 'Cache', 'true'],
    ],
  );
});
