import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { smallHeap } from '../../src/system/process/footprint.ts';
import { type Sluice, startSluice } from '../support/server.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';
import { Inspector } from './inspector.ts';

const runnerEntry = fileURLToPath(new URL('../../src/runner/main.ts', import.meta.url));
const inspectFlag = '--inspect=127.0.0.1:0';

/** To be disposed of before it is ended: a process that ends waits for its inspector to be left. */
export interface Appliance extends Disposable {
  sluice: Sluice;
  /** their temporary directory, which nobody else writes to */
  temporary: string;
  server: Inspected;
  runner: Inspected;
}

export interface Inspected {
  pid: number;
  inspector: Inspector;
}

/** A Sluice whose server and runner have an inspector each. */
export async function startInspected(t: TestContext, settings: Record<string, unknown>): Promise<Appliance> {
  const directory = await temporaryDirectory(t);
  const temporary = join(directory, 'tmp');
  await mkdir(temporary);
  const env = {
    TMPDIR: temporary,
    // As bin/sluice has it: the first start fills the cache, and what finds its modules there stays smaller.
    NODE_COMPILE_CACHE: join(directory, 'cache'),
    // Else each thread has an arena of its own, and they fill up for some hundred deploys before they are level.
    MALLOC_ARENA_MAX: '1',
  };
  const sluice = await startSluice(t, { settings, env });
  await sluice.stop();
  const runner = await startRunner(t, sluice, env);
  await sluice.up({ ...env, NODE_OPTIONS: inspectFlag });
  const inspected = { server: await inspect(sluice.pid), runner: await inspect(runner) };
  const detach = () => {
    for (const { inspector } of Object.values(inspected)) inspector[Symbol.dispose]();
  };
  return { sluice, temporary, ...inspected, [Symbol.dispose]: detach };
}

async function inspect(pid: number): Promise<Inspected> {
  return { pid, inspector: await Inspector.attach(pid) };
}

/** A server takes the runner that it finds: one that it starts itself is never given an inspector. */
async function startRunner(
  t: TestContext,
  { home, paths }: Sluice,
  env: Record<string, string>,
): Promise<number> {
  const child = spawn(process.execPath, [...smallHeap, inspectFlag, runnerEntry], {
    cwd: home,
    env: { ...process.env, ...env, SLUICE_HOME: home },
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const exited = once(child, 'exit');
  t.after(async () => {
    child.kill('SIGKILL');
    await exited;
  });
  await waitFor(() => existsSync(paths.runnerSocket), { what: 'a runner' });
  return child.pid as number;
}
