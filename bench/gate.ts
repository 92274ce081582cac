import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fetchText } from '../test/support/http.ts';
import { freePort, TestRunner } from '../test/support/runner.ts';
import { waitFor } from '../test/support/wait.ts';
import { cpuTime, keptAlive, median, newConnections, processTree } from './support.ts';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const rounds = 9;

interface Variant {
  name: string;
  port: number;
  pids: number[];
}

/** CPU of all server-side processes per request: a plain worker, node:cluster, and a worker behind the gate. */
export async function benchGate(): Promise<void> {
  const cleanups: (() => unknown)[] = [];
  const t = { after: (cleanup: () => unknown) => void cleanups.push(cleanup) } as never;
  try {
    const runner = await TestRunner.start(t);
    await runner.release({ ...runner.spec('plain.cjs'), script: here('apps/hello.cjs') });
    const variants: Variant[] = [
      { name: 'gate', port: runner.port, pids: await processTree(runner.process.pid ?? 0) },
      await launch('shared', t),
      await launch('cluster', t),
    ];
    const kept = await measure(variants, (port) => keptAlive(port, 30_000), 30_000);
    const fresh = await measure(variants, (port) => newConnections(port, 6_000), 6_000);
    print('CPU per kept-alive request', kept);
    print('CPU per request on a new connection', fresh);
    const ratio = (figures: Map<string, number[]>, of: string, to: string) =>
      median(figures.get(of)?.map((value, round) => value / (figures.get(to)?.[round] ?? 1)) ?? []);
    row('kept-alive request, gate / plain worker', ratio(kept, 'gate', 'shared').toFixed(3), '≤ 1.03');
    row('new connection, gate / node:cluster', ratio(fresh, 'gate', 'cluster').toFixed(3), '≤ 0.45');

    const pauses: number[] = [];
    for (let switches = 0; switches < 20; switches += 1) {
      const spec = { ...runner.spec('plain.cjs'), script: here('apps/hello.cjs') };
      pauses.push((await runner.release(spec)).pauseMs);
    }
    row('pause of a switch, median of 20', `${median(pauses).toFixed(1)} ms`, '≤ 10 ms');
    row(
      'boot time of the bootstrap, median of 11',
      `${median(await bootstrapTimes()).toFixed(2)} ms`,
      '≤ 5 ms',
    );
  } finally {
    for (const cleanup of cleanups) await cleanup();
  }
}

async function launch(name: string, t: { after(cleanup: () => unknown): void }): Promise<Variant> {
  const port = await freePort();
  const child = spawn(process.execPath, [here(`apps/${name}.cjs`)], {
    env: { ...process.env, PORT: String(port) },
    stdio: 'inherit',
  });
  t.after(() => {
    child.kill();
    return once(child, 'exit');
  });
  await waitFor(() => fetchText(port).catch(() => undefined), { what: name });
  // Both workers, and not only the first, before the tree is read.
  const pids = await waitFor(async () => {
    const tree = await processTree(child.pid ?? 0);
    return tree.length === 3 && tree;
  });
  return { name, port, pids };
}

/** µs per request, a figure a round; the variants take turns, so that a slow moment of the machine hits all. */
async function measure(
  variants: Variant[],
  load: (port: number) => Promise<void>,
  requests: number,
): Promise<Map<string, number[]>> {
  const figures = new Map<string, number[]>(variants.map(({ name }) => [name, []]));
  for (const { port } of variants) await load(port);
  for (let round = 0; round < rounds; round += 1) {
    // Another one goes first each time: what runs after an idle moment finds the processor at another speed.
    const turn = round % variants.length;
    for (const { name, port, pids } of [...variants.slice(turn), ...variants.slice(0, turn)]) {
      const before = await cpuTime(pids);
      await load(port);
      figures.get(name)?.push(((await cpuTime(pids)) - before) / requests);
    }
  }
  return figures;
}

/** From before the bootstrap is loaded to after, in a process that has what a worker's has. */
async function bootstrapTimes(): Promise<number[]> {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-bench-'));
  const [before, after] = [join(directory, 'before.cjs'), join(directory, 'after.cjs')];
  writeFileSync(before, 'globalThis.bootStart = performance.now();');
  writeFileSync(
    after,
    "require('node:fs').writeSync(1, String(performance.now() - globalThis.bootStart)); process.exit();",
  );
  const boot = JSON.stringify({ port: 1, codePort: null, gateFds: [] });
  const times: number[] = [];
  try {
    for (let run = 0; run < 11; run += 1) {
      const requires = [before, here('../src/worker/bootstrap.cjs'), after].flatMap((file) => [
        '--require',
        file,
      ]);
      const child = spawn(process.execPath, [...requires, here('apps/hello.cjs')], {
        env: { ...process.env, SLUICE_WORKER: boot },
        stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
      });
      let output = '';
      child.stdout?.on('data', (text) => {
        output += text;
      });
      await once(child, 'close');
      times.push(Number(output));
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
  return times;
}

function print(title: string, figures: Map<string, number[]>): void {
  const texts = [...figures].map(([name, values]) => `${name} ${median(values).toFixed(1)} µs`);
  console.log(`${title}: ${texts.join(', ')}`);
}

export function row(what: string, figure: string, wanted: string): void {
  console.log(`${what.padEnd(44)} ${figure.padStart(10)}   wanted ${wanted}`);
}
