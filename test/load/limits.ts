/**
 * Tries the limits of the kernel on a runner that a unit has started with Delegate=yes, and measures what neighbours
 * notice: libexec/node test/load/limits.ts UNIT HOME, as root. Says ok or FAIL a line.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import type { EnvironmentStatus, GenerationSpec, JobLimits, JobSpec } from '../../src/protocol/runner.ts';
import { protocolVersion } from '../../src/protocol/version.ts';
import { freePort } from '../support/free-port.ts';
import { fetchText } from '../support/http.ts';
import { apps, TestRunner } from '../support/runner.ts';
import { waitFor } from '../support/wait.ts';

const [unit = '', home = ''] = process.argv.slice(2);
const megabyte = 1024 ** 2;
let failed = 0;

function say(what: string, isRight: boolean, figures: string): void {
  if (!isRight) failed += 1;
  process.stdout.write(`${isRight ? 'ok  ' : 'FAIL'} ${what}: ${figures}\n`);
}

let runner = await waitFor(() => TestRunner.attach(home).catch(() => undefined), { timeout: 20_000 });
const { limits, pid } = await runner.client.call('hello', { version: protocolVersion });
say('limits', limits.effective.length === 3, JSON.stringify(limits));
process.stdout.write(`     runner is in ${groupOf(pid)}\n`);

const other = await app('other', { workers: 1 });
await eatMemory();
await swarm();
await build();
await processor();
await nextRunner();
await runner.client.call('stop', { key: 'other' });
process.exit(failed === 0 ? 0 : 1);

async function eatMemory(): Promise<void> {
  const shop = await app('shop', { workers: 2, memoryLimit: '300M', restartDelay: 50 });
  const idle = await latency(async () => void (await new Promise((over) => setTimeout(over, 1500))));
  process.stdout.write(`     neighbour idle: ${idle}\n`);
  const noticed = await latency(async () => {
    for (let deaths = 0; deaths < 3; deaths += 1) {
      await fetchText(shop.port, '/eat').catch(() => undefined);
      await waitFor(async () => restarts(await status('shop')) > deaths, { timeout: 20_000 });
      await waitFor(async () => (await status('shop')).state === 'running');
    }
  });
  const { crash } = await status('shop');
  say(
    'memory',
    /killed by the memory limit of 300 MiB/.test(crash?.message ?? ''),
    crash?.message ?? 'no death',
  );
  say('neighbour of what eats memory', restarts(await status('other')) === 0, noticed);
  await runner.client.call('stop', { key: 'shop' });
}

async function swarm(): Promise<void> {
  const shop = await app('shop', { workers: 1, maxProcesses: 128 });
  let most = 0;
  const noticed = await latency(async () => {
    await fetchText(shop.port, '/swarm');
    const end = performance.now() + 3000;
    await waitFor(() => {
      most = Math.max(most, inGroup('pids', groupOf(shop.pids[0] ?? 0)));
      return performance.now() > end;
    });
  });
  say('processes', most > 50 && most <= 128, `${most} processes at most, of 128 and threads`);
  say('neighbour of a swarm', restarts(await status('other')) === 0, noticed);
  await runner.client.call('stop', { key: 'shop' });
  await waitFor(
    () =>
      execFileSync('ps', ['-eo', 'args'])
        .toString()
        .split('\n')
        .filter((line) => line === 'sleep 120').length === 0,
  );
  say('end of a swarm', true, 'none is left');
}

async function build(): Promise<void> {
  const script = `${process.execPath} -e 'const all = []; for (;;) all.push(Buffer.alloc(16 * 1024 ** 2, 1))'; exit 1`;
  const noticed = await latency(async () => {
    const { shortage, durationMs } = await job(script, 200 * megabyte);
    const right = shortage?.of === 'memory' && shortage.limit === 200 * megabyte;
    say('build beyond its memory', right, `${JSON.stringify(shortage)} after ${durationMs} ms`);
  });
  say('neighbour of it', restarts(await status('other')) === 0, noticed);
}

async function processor(): Promise<void> {
  const workers = availableParallelism();
  const light = await app('light', { workers, cpuWeight: 100, stuckTimeout: 0 });
  const heavy = await app('heavy', { workers, cpuWeight: 400, stuckTimeout: 0 });
  for (const { port, pids } of [light, heavy]) await spinAll(port, pids);
  const shares = await cpuOf([light.pids, heavy.pids]);
  const ratio = (shares[1] ?? 0) / (shares[0] ?? 1);
  say('cpuWeight 400 beside 100', ratio > 2 && ratio < 6, `${ratio.toFixed(2)} times the processor`);
  await runner.client.call('stop', { key: 'heavy' });
  const spins = Array.from({ length: workers }, () => 'while :; do :; done &').join(' ');
  const ending = new AbortController();
  const building = runner.client.call(
    'job',
    { job: spec(`${spins} wait`), limits: jobLimits(null) },
    { signal: ending.signal },
  );
  const shells = await waitFor(() => {
    const found = pidsOf('while :; do :; done &');
    return found.length >= workers && found;
  });
  const [app_ = 0, build_ = 1] = await cpuOf([light.pids, shells]);
  say('an app beside a build', app_ / build_ > 5, `${(app_ / build_).toFixed(2)} times the processor`);
  ending.abort();
  await building.catch(() => undefined);
  await runner.client.call('stop', { key: 'light' });
}

async function nextRunner(): Promise<void> {
  const group = groupOf(other.pids[0] ?? 0);
  process.kill(pid, 'SIGKILL');
  runner = await waitFor(
    async () => {
      const next = await TestRunner.attach(home).catch(() => undefined);
      const said = await next?.client.call('hello', { version: protocolVersion }).catch(() => undefined);
      return said !== undefined && said.pid !== pid && next;
    },
    { timeout: 20_000, what: 'the next runner' },
  );
  const now = await runner.client.call('hello', { version: protocolVersion });
  say(
    'limits of the next runner',
    now.limits.effective.length === 3,
    `${JSON.stringify(now.limits.effective)}, in ${groupOf(now.pid)}`,
  );
  const state = execFileSync('systemctl', ['is-active', unit]).toString().trim();
  say('its unit', state === 'active', state);
  const { status: answered } = await fetchText(other.port);
  say('an old worker lives on', answered === 200 && inGroup('pids', group) > 0, group);
  await runner
    .boot(other.spec)
    .then(({ generation }) => runner.client.call('switch', { key: 'other', generation }));
  await waitFor(() => inGroup('pids', group) === 0, { timeout: 40_000, what: 'the end of the old worker' });
  const {
    workers: [worker],
  } = await status('other');
  say('a fresh one takes its place', worker !== undefined, groupOf(worker?.pid ?? 0));
}

async function app(
  key: string,
  settings: object,
): Promise<{ port: number; pids: number[]; spec: GenerationSpec }> {
  const port = await freePort();
  const { current, generation, cron, logs, directory } = runner.paths.environment({
    app: key,
    environment: 'production',
  });
  await mkdir(directory, { recursive: true });
  const spec = { ...runner.spec('greedy.cjs', settings), key, port, paths: { current, generation, cron } };
  spec.env['PORT'] = String(port);
  spec.log = { ...spec.log, directory: logs };
  await runner.release(spec);
  return { port, spec, pids: (await status(key)).workers.map((worker) => worker.pid) };
}

async function status(key: string): Promise<EnvironmentStatus> {
  const found = (await runner.client.call('status', {})).find((target) => target.key === key);
  if (found === undefined) throw new Error(`${key} does not run`);
  return found;
}

function restarts({ workers }: EnvironmentStatus): number {
  return workers.reduce((sum, worker) => sum + worker.restarts, 0);
}

function spec(script: string): JobSpec {
  const env = { PATH: process.env['PATH'] ?? '' };
  return { argv: ['sh', '-c', script], directory: apps, env, lowPriority: true, user: null, timeout: 60_000 };
}

function jobLimits(memory: number | null): JobLimits {
  return { key: 'shop', memory, processes: 512, cpuWeight: 100 };
}

function job(script: string, memory: number) {
  return runner.client.call('job', { job: spec(script), limits: jobLimits(memory) });
}

/** Measures the response times of the neighbour meanwhile. */
async function latency(goesOn: () => Promise<void>): Promise<string> {
  const times: number[] = [];
  let errors = 0;
  let over = false;
  const asking = (async () => {
    while (!over) {
      const start = performance.now();
      await fetchText(other.port).catch(() => {
        errors += 1;
      });
      times.push(performance.now() - start);
      await new Promise((next) => setTimeout(next, 5));
    }
  })();
  await goesOn();
  over = true;
  await asking;
  times.sort((a, b) => a - b);
  const at = (part: number) => (times[Math.floor((times.length - 1) * part)] ?? 0).toFixed(1);
  return `${times.length} requests, ${errors} errors; ${at(0.5)} ms median, ${at(0.99)} ms 99th percentile, ${at(1)} ms at most`;
}

async function spinAll(port: number, pids: number[]): Promise<void> {
  const spinning = new Set<number>();
  while (spinning.size < pids.length) {
    const { headers } = await fetchText(port, '/spin');
    spinning.add(Number(headers['x-pid']));
  }
}

/** Measures the CPU time of each group of processes within 10 s, in ticks. A shorter time is noisy on a shared machine. */
async function cpuOf(groups: number[][]): Promise<number[]> {
  const ticks = (pids: number[]) =>
    pids.reduce((sum, one) => {
      const stat = readFileSync(`/proc/${one}/stat`, 'utf8');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return sum + Number(fields[11]) + Number(fields[12]);
    }, 0);
  const before = groups.map(ticks);
  await new Promise((over) => setTimeout(over, 10_000));
  return groups.map((pids, index) => ticks(pids) - (before[index] ?? 0));
}

function pidsOf(part: string): number[] {
  const lines = execFileSync('ps', ['-eo', 'pid,args']).toString().split('\n');
  return lines.filter((line) => line.includes(part)).map((line) => Number.parseInt(line, 10));
}

/** Returns the group of cgroups v2, else the one in the hierarchy of `pids`. */
function groupOf(one: number): string {
  const lines = readFileSync(`/proc/${one}/cgroup`, 'utf8').split('\n');
  const legacy = lines.find((line) => line.split(':')[1] === 'pids');
  return (legacy ?? lines.find((line) => line.startsWith('0::')) ?? '').split(':').slice(2).join(':');
}

function inGroup(controller: string, group: string): number {
  const all = execFileSync('sh', [
    '-c',
    `cat /sys/fs/cgroup/${controller}${group}/cgroup.procs /sys/fs/cgroup${group}/cgroup.procs 2>/dev/null | wc -l`,
  ]);
  return Number(all.toString());
}
