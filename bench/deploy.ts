import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { pack } from '../test/support/pack.ts';
import { type Sluice, startSluice } from '../test/support/server.ts';
import { bootTimes, hello, inScope, median, proportionalSize, row, sluiceEnvironment } from './support.ts';

const workers = 2;
const deploys = 9;

/** Measures a deploy of a 1 MB app without the boots of the app, and the memory of the appliance. */
export function benchDeploy(): Promise<void> {
  return inScope(async (t) => {
    // The first start fills the compile cache, as bin/sluice does before `up`; the second is what runs for months.
    const env = await sluiceEnvironment(t);
    const sluice = await startSluice(t, { env });
    const app = await largeApp();
    await upload(sluice, app);
    await sluice.stop();
    await sluice.up(env);
    await sluice.untilRunning('shop');

    const times: number[] = [];
    for (let deploy = 0; deploy < deploys; deploy += 1) times.push(await upload(sluice, app));
    const boot = median(await bootTimes());
    const overhead = median(times) - workers * boot;
    console.log(
      `deploy of 1 MB, ${workers} workers, settleTime 0: ${median(times).toFixed(0)} ms; the app alone boots in ${boot.toFixed(0)} ms`,
    );
    row('deploy beyond the boots, median', `${overhead.toFixed(0)} ms`, '≤ 300 ms');

    const { server, runner } = await sluice.call<Record<'server' | 'runner', { pid: number }>>(
      'GET',
      '/v1/status',
    );
    const [ours, its] = [await proportionalSize(server.pid), await proportionalSize(runner.pid)];
    const mega = (bytes: number) => (bytes / 1e6).toFixed(1);
    console.log(`memory after ${deploys} deploys: server ${mega(ours)} MB, runner ${mega(its)} MB`);
    row('memory of server and runner', `${mega(ours + its)} MB`, '≤ 100 MB');
  });
}

/** @returns how long it took until the answer, in ms */
async function upload(sluice: Sluice, body: Uint8Array<ArrayBuffer>): Promise<number> {
  const start = performance.now();
  const response = await sluice.request('/v1/apps/shop/releases', { method: 'POST', body });
  const answer = await response.text();
  if (response.status !== 201) throw new Error(answer);
  return performance.now() - start;
}

async function largeApp(): Promise<Uint8Array<ArrayBuffer>> {
  const files: Record<string, unknown> = {
    'server.js': await readFile(hello, 'utf8'),
    'sluice.json': { settleTime: 0, workers },
  };
  // As base64, which compresses to about what it stands for.
  for (let file = 0; file < 100; file += 1)
    files[`lib/${file}.js`] = `// ${randomBytes(10_000).toString('base64')}`;
  return new Uint8Array(await pack(files));
}
