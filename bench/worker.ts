import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../test/support/free-port.ts';
import { fetchText } from '../test/support/http.ts';
import { TestRunner } from '../test/support/runner.ts';
import { waitFor } from '../test/support/wait.ts';
import { cpuTime, keptAlive, median, newConnections, processTree, row } from './support.ts';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const roundCount = 7;

const requests = { kept: 40_000, fresh: 6_000 };

type Figures = Record<keyof typeof requests, number>;

/** A way to serve, started: its port, and the processes that take part. */
interface Serving {
  port: number;
  pids: number[];
  stop(): Promise<unknown>;
}

const variants = {
  worker: serveByWorker,
  shared: () => serveAlone('shared'),
  cluster: () => serveAlone('cluster'),
};

type Variant = keyof typeof variants;

/** CPU of all server-side processes per request: a plain process, node:cluster, and a worker of Sluice. */
export async function benchWorker(): Promise<void> {
  const rounds: Record<Variant, Figures>[] = [];
  const names = Object.keys(variants) as Variant[];
  for (let round = 0; round < roundCount; round += 1) {
    // Started afresh each time, for a process keeps its luck with memory and compiler; and in turns, for the machine
    // has moods too.
    const figures = {} as Record<Variant, Figures>;
    const turn = round % names.length;
    for (const name of [...names.slice(turn), ...names.slice(0, turn)]) figures[name] = await measure(name);
    rounds.push(figures);
  }
  for (const kind of ['kept', 'fresh'] as const) {
    const texts = names.map(
      (name) => `${name} ${median(rounds.map((round) => round[name][kind])).toFixed(1)} µs`,
    );
    console.log(`CPU per request, ${kind === 'kept' ? 'kept alive' : 'new connection'}: ${texts.join(', ')}`);
  }
  const ratio = (kind: keyof Figures, to: Variant) =>
    median(rounds.map((round) => round.worker[kind] / round[to][kind])).toFixed(3);
  row('kept-alive request, worker / plain process', ratio('kept', 'shared'), '≤ 1.03');
  row('new connection, worker / node:cluster', ratio('fresh', 'cluster'), '≤ 0.45');
  row('pause of a switch, median of 20', `${median(await pauses()).toFixed(1)} ms`, '≤ 10 ms');
  row(
    'boot time of the bootstrap, median of 11',
    `${median(await bootstrapTimes()).toFixed(2)} ms`,
    '≤ 5 ms',
  );
}

/** µs per request. */
async function measure(name: Variant): Promise<Figures> {
  const serving = await variants[name]();
  try {
    const cost = async (load: (port: number, total: number) => Promise<void>, total: number) => {
      await load(serving.port, total / 2);
      const before = await cpuTime(serving.pids);
      await load(serving.port, total);
      return ((await cpuTime(serving.pids)) - before) / total;
    };
    return { kept: await cost(keptAlive, requests.kept), fresh: await cost(newConnections, requests.fresh) };
  } finally {
    await serving.stop();
  }
}

const hello = { script: here('apps/hello.cjs') };

async function startRunner() {
  const cleanups: (() => unknown)[] = [];
  const runner = await TestRunner.start({
    after: (cleanup: () => unknown) => void cleanups.push(cleanup),
  } as never);
  const stop = async () => {
    for (const cleanup of cleanups.reverse()) await cleanup();
  };
  return { runner, stop };
}

async function serveByWorker(): Promise<Serving> {
  const { runner, stop } = await startRunner();
  await runner.release({ ...runner.spec('plain.cjs'), ...hello });
  return { port: runner.port, pids: await processTree(runner.process.pid ?? 0), stop };
}

async function serveAlone(name: string): Promise<Serving> {
  const port = await freePort();
  const env = { ...process.env, PORT: String(port) };
  const child = spawn(process.execPath, [here(`apps/${name}.cjs`)], {
    env,
    stdio: 'inherit',
    detached: true,
  });
  const exited = once(child, 'exit');
  await waitFor(() => fetchText(port).catch(() => undefined), { what: name });
  // Both workers, and not only the first, before the tree is read.
  const pids = await waitFor(async () => {
    const tree = await processTree(child.pid ?? 0);
    return tree.length === 3 && tree;
  });
  const stop = () => {
    child.kill();
    return exited;
  };
  return { port, pids, stop };
}

async function pauses(): Promise<number[]> {
  const { runner, stop } = await startRunner();
  try {
    const found: number[] = [];
    for (let switches = 0; switches < 20; switches += 1) {
      found.push((await runner.release({ ...runner.spec('plain.cjs'), ...hello })).pauseMs);
    }
    return found;
  } finally {
    await stop();
  }
}

/**
 * Times of loading the bootstrap, in ms, in a process that has what a worker has. node:net does not count: each app that
 * listens loads it.
 * @param node path of the Node.js of the app
 */
export async function bootstrapTimes(node = process.execPath): Promise<number[]> {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-bench-'));
  const [before, after] = [join(directory, 'before.cjs'), join(directory, 'after.cjs')];
  writeFileSync(before, "require('node:net'); globalThis.bootStart = performance.now();");
  writeFileSync(
    after,
    "require('node:fs').writeSync(1, String(performance.now() - globalThis.bootStart)); process.exit();",
  );
  const boot = JSON.stringify({
    ...{ port: 1, codePort: null, channelFd: 3, listeningFds: [] },
    ...{ handoffFds: { take: 0, give: 1 }, handoffId: '' },
  });
  const times: number[] = [];
  try {
    for (let run = 0; run < 11; run += 1) {
      const requires = [before, here('../src/worker/bootstrap.cjs'), after].flatMap((file) => [
        '--require',
        file,
      ]);
      const child = spawn(node, [...requires, here('apps/hello.cjs')], {
        env: { ...process.env, SLUICE_WORKER: boot },
        stdio: ['ignore', 'pipe', 'inherit', 'pipe'],
      });
      let output = '';
      child.stdout?.on('data', (text) => {
        output += text;
      });
      await once(child, 'close');
      if (output === '') throw new Error('the bootstrap did not load');
      times.push(Number(output));
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
  return times;
}
