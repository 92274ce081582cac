import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Cgroups } from '../../src/runner/cgroups/cgroups.ts';
import { CgroupTree, noTree, type TreeLimits } from '../../src/runner/cgroups/tree.ts';
import { waitFor } from '../support/wait.ts';

const unlimited = { memory: null, processes: null, cpuWeight: 100 };

/** Tree in memory: groups with their limits and pids, like the kernel's. */
class FakeTree extends CgroupTree {
  readonly groups = new Map<string, { limits: TreeLimits; pids: number[] }>();
  readonly killed: string[] = [];
  counts = { oomKills: 0, memoryLimitHits: 0, forks: 0 };

  constructor() {
    super(2, new Map([['memory', ''] as const, ['pids', ''] as const]));
  }

  override make(path: string): void {
    if (!this.groups.has(path)) this.groups.set(path, { limits: {}, pids: [] });
  }
  override limit(path: string, limits: TreeLimits): void {
    Object.assign(this.groups.get(path)?.limits ?? {}, limits);
  }
  override add(path: string, pid: number): void {
    this.groups.get(path)?.pids.push(pid);
  }
  override kill(path: string): boolean {
    const pids = this.groups.get(path)?.pids.splice(0) ?? [];
    if (pids.length > 0) this.killed.push(path);
    return pids.length > 0;
  }
  override remove(path: string): boolean {
    const isUsed = (this.groups.get(path)?.pids.length ?? 0) > 0 || this.list(path).length > 0;
    return !isUsed && (this.groups.delete(path) || true);
  }
  override list(path: string): string[] {
    const inside = [...this.groups.keys()].filter((each) => each.startsWith(`${path}/`));
    return inside.map((each) => each.slice(path.length + 1)).filter((name) => !name.includes('/'));
  }
  override refusals() {
    return this.counts;
  }
}

function makeCgroups(tree: CgroupTree, warn: (message: string) => void = assert.fail): Cgroups {
  return new Cgroups({ tree, reason: null, wanted: true }, warn);
}

test('a generation and a job have their limits in groups of their own', async () => {
  const tree = new FakeTree();
  const cgroups = makeCgroups(tree);
  await cgroups.start();
  cgroups.generation('shop', 7, { memory: 1000, processes: 10, cpuWeight: 200 });
  cgroups.job({ key: 'shop', memory: 500, processes: 5, cpuWeight: 100 });
  const { limits } = tree.groups.get('apps/app-shop/generation-7') ?? {};
  assert.deepEqual(limits, { memory: 1000, processes: 10, swap: 1000 });
  assert.equal(tree.groups.get('apps/app-shop')?.limits.cpuWeight, 200);
  const [job] = tree.list('builds/app-shop');
  assert.deepEqual(tree.groups.get(`builds/app-shop/${job}`)?.limits, { memory: 500, processes: 5 });
  assert.deepEqual(cgroups.report.missing, ['cpu']);
});

test('a cgroup is removed with its processes when its last user releases it', async () => {
  const tree = new FakeTree();
  const cgroups = makeCgroups(tree);
  const group = cgroups.generation('shop', 7, unlimited);
  const releases = [group.retain(), group.retain()];
  group.add(-1);
  releases[0]?.();
  releases[0]?.();
  assert.deepEqual(tree.killed, []);
  releases[1]?.();
  await cgroups.close();
  assert.deepEqual(tree.killed, ['apps/app-shop/generation-7']);
  assert.deepEqual([...tree.groups.keys()], []);
});

test('a new runner kills jobs of an earlier runner at once, and its generations when they are left over', async () => {
  const tree = new FakeTree();
  for (const path of ['apps/app-shop/generation-1', 'builds/app-shop/job-1-1']) {
    tree.make(path.slice(0, path.lastIndexOf('/')));
    tree.make(path);
    tree.add(path, -1);
  }
  const cgroups = makeCgroups(tree);
  await cgroups.start();
  assert.deepEqual(tree.killed, ['builds/app-shop/job-1-1']);
  const group = cgroups.generation('shop', 2, unlimited);
  group.add(-1);
  await cgroups.endLeftovers('shop');
  assert.deepEqual(tree.list('apps/app-shop'), ['generation-2']);
});

test('a shortage names the own limit, or the machine', () => {
  const tree = new FakeTree();
  const group = makeCgroups(tree).generation('shop', 1, { ...unlimited, memory: 1000, processes: 10 });
  tree.counts = { oomKills: 1, memoryLimitHits: 1, forks: 0 };
  assert.deepEqual(group.killedBy(), { of: 'memory', limit: 1000 });
  tree.counts = { oomKills: 2, memoryLimitHits: 1, forks: 1 };
  assert.deepEqual(group.shortages(), [
    { of: 'memory', limit: null },
    { of: 'processes', limit: 10 },
  ]);
  assert.deepEqual(group.shortages(), []);
});

test('an app runs without limits if the kernel refuses them, or if there are no cgroups', async () => {
  const tree = new FakeTree();
  const warnings: string[] = [];
  tree.limit = () => {
    throw new Error('refused');
  };
  const group = makeCgroups(tree, (message) => warnings.push(message)).generation('shop', 1, unlimited);
  assert.deepEqual(warnings, ['apps/app-shop/generation-1 runs without limits: refused']);
  group.add(process.pid);
  assert.deepEqual(group.shortages(), []);
  const none = makeCgroups(noTree);
  await none.start();
  none.generation('shop', 1, unlimited).retain()();
  await none.close();
});

test('a group is removed although no descriptor is free when its last process ends', async () => {
  const tree = new FakeTree();
  const cgroups = makeCgroups(tree);
  await cgroups.start();
  const release = cgroups.generation('shop', 7, unlimited).retain();
  const { kill } = tree;
  let failures = 0;
  tree.kill = (path) => {
    failures += 1;
    if (failures < 3) throw Object.assign(new Error('too many open files'), { code: 'EMFILE' });
    return kill.call(tree, path);
  };
  release();
  await waitFor(() => !tree.groups.has('apps/app-shop'));
});
