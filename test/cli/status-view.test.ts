import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AppStatus } from '../../src/apps/status.ts';
import { describeApp, listUsage } from '../../src/cli/status-view.ts';

const startedAt = new Date().toISOString();
const worker: AppStatus['workers'][number] = {
  ...{ pid: 1, instance: 0, generation: 1, release: 7, state: 'open', restarts: 0, startedAt },
  ...{ cpuPercent: 1, memoryBytes: 1024, eventLoopDelayMs: 1, connections: 0, requests: 0, metrics: [] },
};
const app: AppStatus = {
  ...{ name: 'shop', environment: 'production', state: 'running', since: startedAt },
  ...{
    crash: null,
    standby: null,
    reverted: null,
    problem: null,
    url: 'http://127.0.0.1:9001',
    port: 9001,
    domains: [],
    release: 7,
  },
  ...{ node: null, changedSinceBuild: [], wanted: 2, exec: null, background: [], cron: [], oneOffs: [] },
  ...{ reach: 'server', host: '127.0.0.1', commit: null, branch: null, start: null, maxMemory: null },
  ...{ descriptors: 1, deploying: [], rebuild: null, workers: [worker] },
};

test('the status of an app lists the metrics that its processes declare', () => {
  const workers = [
    { ...worker, metrics: [{ name: 'Users', value: 12, unit: 'people' }] },
    { ...worker, instance: 1, metrics: [{ name: 'Cache', value: true, unit: '' }] },
  ];
  const lines = describeApp({ ...app, workers }).split('\n');
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

test('the status of an app has the commit, the command and the memory limit of its release', () => {
  const live = {
    ...{ commit: '1f0c9a7d21c4b2f8e5d3a6b7c8d9e0f1a2b3c4d5', branch: 'main' },
    ...{ start: 'node server.js', maxMemory: 300 * 1024 ** 2 },
  };
  assert.match(
    describeApp({ ...app, ...live }),
    /\n\ncommit 1f0c9a7d21 of main\nstarts with node server\.js\nmemory limit of a worker: 300 MiB \("maxMemory"\)\n\n/,
  );
});

test('the list of apps has the figures of all processes of an app, in 80 columns', () => {
  const background: AppStatus['background'][number] = {
    ...{ name: 'mail', instance: 0, release: 7, pid: 2, state: 'running', crash: null, failing: false },
    ...{ startedAt, restarts: 3, cpuPercent: 41, memoryBytes: 300 * 1024 ** 2, metrics: [] },
  };
  const since = new Date(Date.now() - 12 * 86_400_000).toISOString();
  const apps: AppStatus[] = [
    { ...app, name: 'worker-shop', since, workers: [worker, worker], background: [background] },
    { ...app, environment: 'staging', state: 'stopped', workers: [], wanted: null },
  ];
  const text = listUsage(apps, 80);
  assert.deepEqual(
    text.split('\n').map((line) => line.split(/ {2,}/)),
    [
      ['APP', 'STATE', 'RELEASE', 'WORKERS', 'RESTARTS', 'UP', 'CPU', 'MEMORY'],
      ['worker-shop', 'running', '7', '2', '3', '12 d', '43 %', '300 MiB'],
      ['shop@staging', 'stopped', '7', '0', '0', '-', '0 %', '0 B'],
    ],
  );
  assert.ok(text.split('\n').every((line) => line.length <= 80));
  assert.match(listUsage(apps, 120), /MEMORY +URL\n.+ http:\/\/127\.0\.0\.1:9001\n/);
});
