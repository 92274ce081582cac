import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { Cgroups } from '../../src/runner/cgroups/cgroups.ts';
import { CgroupTree, readPids } from '../../src/runner/cgroups/tree.ts';
import { unifiedRoot } from '../support/cgroups.ts';
import { waitFor } from '../support/wait.ts';

const root = unifiedRoot();
const skip = root === undefined ? 'no cgroups of version 2 that can be written to' : false;

test('a cgroup of version 2 is ended whole, with what has left its parents and is still forking', {
  skip,
}, async (t) => {
  const own = join(root ?? '', `sluice-test-${process.pid}`);
  mkdirSync(own);
  // Without a controller, a tree has no groups. The kernel may refuse this one.
  const tree = new CgroupTree(2, new Map([['io', own]]));
  const cgroups = new Cgroups({ tree, reason: null, wanted: true }, assert.fail);
  t.after(() => cgroups.close());
  await cgroups.start();
  const path = 'apps/app-shop/generation-1';
  const group = cgroups.generation('shop', 1, { memory: null, processes: null, cpuWeight: 100 });
  const script = 'i=0; while [ $i -lt 200 ]; do setsid sleep 120 & i=$((i+1)); done; wait';
  const child = spawn('sh', ['-c', script], { stdio: 'ignore', detached: true });
  group.add(child.pid ?? 0);
  const procs = join(own, path, 'cgroup.procs');
  await waitFor(() => readPids(procs).length > 100);
  assert.equal(tree.remove(path), false);
  const [first, second] = [group.retain(), group.retain()];
  first();
  first();
  assert.ok(readPids(procs).length > 100);
  second();
  await waitFor(() => !existsSync(join(own, path)));
});

test('free-cgroup lets a process into a cgroup that has handed controllers on, with others below it', {
  skip,
}, async (t) => {
  const own = join(root ?? '', `sluice-test-free-${process.pid}`);
  const groups = ['', 'apps', 'apps/app-shop', 'apps/app-shop/generation-1'].map((path) => join(own, path));
  const child = spawn('sleep', ['120'], { stdio: 'ignore' });
  const gone = new Promise((over) => child.once('exit', over));
  t.after(async () => {
    child.kill('SIGKILL');
    await gone;
    for (const group of groups.toReversed()) rmdirSync(group);
  });
  for (const group of groups) mkdirSync(group);
  const [controller] = readFileSync(join(own, 'cgroup.controllers'), 'utf8').trim().split(' ');
  if (!controller) return t.skip('no controller of version 2');
  for (const group of groups.slice(0, 3)) {
    writeFileSync(join(group, 'cgroup.subtree_control'), `+${controller}`);
  }
  const into = (group = '') => writeFileSync(join(group, 'cgroup.procs'), String(child.pid));
  into(groups[3]);
  assert.throws(() => into(own), { code: 'EBUSY' });
  const script = resolve(import.meta.dirname, '../../libexec/free-cgroup');
  const { status, stderr } = spawnSync(script, [own], { encoding: 'utf8' });
  assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
  into(own);
  into(groups[3]);
});
