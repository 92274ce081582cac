import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { freePort } from '../support/free-port.ts';
import { appNode, sharesPorts } from '../support/runner.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { workerBoot } from '../support/worker-boot.ts';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const forms = here('../fixtures/listen-forms.cjs');
const bootstrap = here('../../src/worker/bootstrap.cjs');

interface Seen {
  events: string[];
  throws?: string;
  reachable: boolean | null;
  [more: string]: unknown;
}

test('the app sees each form of listen as on plain Node.js, and no client can connect before the worker opens', async (t) => {
  const plain = await observe(t, false);
  const intercepted = await observe(t, true);
  assert.ok(Object.keys(plain).length > 100);
  for (const [form, { reachable, ...expected }] of Object.entries(plain)) {
    const { reachable: reachableBefore, ...seen } = intercepted[form] as Seen;
    // Before Node.js 22.12 a port in use may be another worker's, so the worker waits for it.
    if (form.includes('taken') && !sharesPorts()) continue;
    assert.deepEqual(seen, expected, form);
    // Only the app knows a port that the system has chosen.
    const isChosenBySystem = JSON.stringify(expected).includes('"port":"any"');
    assert.equal(reachableBefore, isChosenBySystem ? reachable : reachable && false, form);
  }
  assert.ok(Object.values(plain).filter(({ reachable }) => reachable).length > 70);
});

/** Returns the result of each form as an app sees it, with names in place of ports. */
async function observe(t: TestContext, isIntercepted: boolean): Promise<Record<string, Seen>> {
  const [port, other, directory] = [await freePort(), await freePort(), await temporaryDirectory(t)];
  const taken = createServer().listen({ port: 0, host: '127.0.0.1' });
  t.after(() => taken.close());
  await once(taken, 'listening');
  const { port: takenPort } = taken.address() as { port: number };
  const boot = workerBoot({
    ...{ key: 'shop@production', port, drainTimeout: 1000 },
    ...{ generationFile: `${directory}/generation`, orphanSocket: `${directory}/orphans.sock` },
  });
  const child = spawn(appNode, [...(isIntercepted ? ['--require', bootstrap] : []), forms], {
    env: {
      PORT: String(port),
      OTHER_PORT: String(other),
      TAKEN_PORT: String(takenPort),
      DIRECTORY: directory,
      ...(isIntercepted ? { SLUICE_WORKER: JSON.stringify(boot) } : {}),
    },
    cwd: directory,
    stdio: ['ignore', 'pipe', 'inherit', 'pipe', 'pipe', 'pipe'],
  });
  t.after(() => child.kill('SIGKILL'));
  const output = await text(child.stdout as NonNullable<typeof child.stdout>);
  const names = new Map([
    [port, 'PORT'],
    [other, 'OTHER'],
    [takenPort, 'TAKEN'],
  ]);
  const named = (value: string) =>
    value
      .replaceAll(directory, 'DIRECTORY')
      .replace(/(?:\.\.\/)+/g, '')
      .replace(/\b\d{4,5}\b/g, (digits) => names.get(Number(digits)) ?? 'any');
  return JSON.parse(output, (key, value) => {
    if (typeof value === 'string') return named(value);
    return key === 'port' ? (names.get(value) ?? 'any') : value;
  }) as Record<string, Seen>;
}
