import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { WorkerBoot } from '../src/protocol/worker.ts';
import { apps } from './apps.ts';
import { inScope } from './run.ts';

const runs = 11;
const bootstrap = fileURLToPath(new URL('../src/worker/bootstrap.cjs', import.meta.url));

/** Returns times from the start of `node server.js` until it listens, in ms. */
export function bootTimes(): Promise<number[]> {
  return inScope(async (scope) => {
    const probe = join(await scratch(scope), 'probe.cjs');
    await writeFile(
      probe,
      `require('node:net').Server.prototype.emit = function (event) { if (event === 'listening') process.exit(); };`,
    );
    return repeated(async () => {
      const start = performance.now();
      await once(spawn(process.execPath, ['--require', probe, apps.hello], { env: { PORT: '0' } }), 'exit');
      return performance.now() - start;
    });
  });
}

/**
 * Returns times of loading the bootstrap, in ms, in a process that has what a worker has. node:net does not count: each app that
 * listens loads it.
 * @param node path of the Node.js of the app
 */
export function bootstrapTimes(node = process.execPath): Promise<number[]> {
  return inScope(async (scope) => {
    const directory = await scratch(scope);
    const [before, after] = [join(directory, 'before.cjs'), join(directory, 'after.cjs')];
    await writeFile(before, "require('node:net'); globalThis.bootStart = performance.now();");
    await writeFile(
      after,
      "require('node:fs').writeSync(1, String(performance.now() - globalThis.bootStart)); process.exit();",
    );
    const boot: WorkerBoot = {
      ...{ key: 'shop', directory, port: 1, codePort: null, waitReady: false, maxMemory: null },
      ...{ stopSignal: null, shutdownWithMessage: false, drainTimeout: 0, killTimeout: 0 },
      ...{ generation: 1, besideOrphans: false, generationFile: join(directory, 'generation'), secret: '' },
      ...{ orphanSocket: join(directory, 'orphan'), beatInterval: 1000, overflow: 'wait' },
      ...{ channelFd: 3, handoffFds: { take: 0, give: 1 }, listeningFds: [], affinity: null, load: null },
      handoffId: '',
    };
    const requires = [before, bootstrap, after].flatMap((file) => ['--require', file]);
    return repeated(async () => {
      const child = spawn(node, [...requires, apps.hello], {
        env: { ...process.env, SLUICE_WORKER: JSON.stringify(boot) },
        stdio: ['ignore', 'pipe', 'inherit', 'pipe'],
      });
      let output = '';
      child.stdout?.on('data', (text) => {
        output += text;
      });
      await once(child, 'close');
      if (output === '') throw new Error('the bootstrap did not load');
      return Number(output);
    });
  });
}

async function scratch(scope: { after(cleanup: () => unknown): void }): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'sluice-bench-'));
  scope.after(() => rm(directory, { recursive: true }));
  return directory;
}

async function repeated(measure: () => Promise<number>): Promise<number[]> {
  const times: number[] = [];
  while (times.length < runs) times.push(await measure());
  return times;
}
