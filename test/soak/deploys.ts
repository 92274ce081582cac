import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { fetchText } from '../support/http.ts';
import type { Files } from '../support/pack.ts';
import type { Sluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';
import { startInspected } from './appliance.ts';
import { type Sample, takeSample } from './sample.ts';
import { median, type Points, slope } from './trend.ts';

const app = 'shop';
const deploys = Number(process.env['SOAK_DEPLOYS'] ?? 200);
/** Before that, code is compiled and caches fill. */
const warmUp = deploys / 4;
const every = deploys / 20;
const requests = 5;

/**
 * By how many bytes each deploy may make a process grow. What is live is known to the byte: only optimized code comes
 * to it, a few KB a deploy. The others swing more widely, and are there for what is held outside of the heap. The
 * history grows to 200 releases: between deploys 160 and 260 malloc of the server takes up to 6 MB more, which it has free
 * afterwards, and no more up to deploy 400 (measured). With more than 200 deploys, `private` and `resident` may exceed the bound.
 */
const bounds = { live: 6_000, private: 20_000, resident: 20_000 };

test(`after ${deploys} deploys, server and runner take no more than before`, async (t) => {
  using appliance = await startInspected(t, { logSize: '20K', keepLogs: 3 });
  const { sluice } = appliance;
  const samples: [deploy: number, sample: Sample][] = [];
  const times: number[] = [];
  for (let deploy = 1; deploy <= deploys; deploy += 1) {
    const start = performance.now();
    const { number } = await sluice.deploy(app, files(deploy));
    times.push(performance.now() - start);
    await use(sluice);
    if (deploy < warmUp || deploy % every !== 0) continue;
    await atRest(sluice, number);
    samples.push([deploy, await takeSample(appliance, app)]);
  }
  t.diagnostic(
    `a deploy took ${median(times.slice(0, every)).toFixed(0)} ms, at the end ${median(times.slice(-every)).toFixed(0)} ms`,
  );
  demandLevel(t, samples);
});

/** The way of its cron entry changes, so that both are taken. */
function files(deploy: number): Files {
  const tick = deploy % 2 === 0 ? { command: 'echo tick' } : { request: '/tick' };
  return {
    'server.js': `
      require('node:http').createServer((request, response) => {
        for (let line = 1; line <= 3; line += 1) console.log('line', line, 'about', request.url, 'x'.repeat(60));
        console.error('and one that is an error');
        response.end('release ${deploy}');
      }).listen(process.env.PORT);
    `,
    'mail.js': `console.log('waiting for mail'); setInterval(() => undefined, 1000);`,
    'sluice.json': {
      settleTime: 0,
      workers: 2,
      processes: { mail: 'node mail.js' },
      cron: [{ name: 'tick', schedule: '* * * * * *', ...tick }],
    },
  };
}

async function use(sluice: Sluice): Promise<void> {
  const { port } = await sluice.status(app);
  for (let count = 0; count < requests; count += 1)
    assert.equal((await fetchText(port, `/${count}`)).status, 200);
}

/** Waits until what was there before has gone, and its successor has come. */
async function atRest(sluice: Sluice, release: number): Promise<void> {
  await waitFor(
    async () => {
      const { workers, background } = await sluice.status(app);
      const [mail] = background;
      return (
        workers.length === 2 &&
        background.length === 1 &&
        mail?.release === release &&
        mail.state === 'running'
      );
    },
    { what: 'the end of the old release' },
  );
}

function demandLevel(t: TestContext, samples: [number, Sample][]): void {
  const names = [...new Set(samples.flatMap(([, sample]) => Object.keys(sample)))];
  const grown: string[] = [];
  for (const name of names) {
    const points: Points = samples.map(([deploy, sample]) => [deploy, sample[name] ?? 0]);
    const { text, level } = judge(name, points);
    t.diagnostic(text);
    if (!level) grown.push(text);
  }
  assert.deepEqual(grown, []);
}

function judge(name: string, points: Points): { text: string; level: boolean } {
  const values = points.map(([, value]) => value);
  const kind = /(live|private|resident) bytes$/.exec(name)?.[1] as keyof typeof bounds | undefined;
  if (kind === undefined) {
    // One a deploy would be a hundred and more; a log that is just being rotated, or a socket that still closes, is not.
    const growth = median(values.slice(-5)) - median(values.slice(0, 5));
    return {
      text: `${name}: ${Math.min(...values)} to ${Math.max(...values)}, grown by ${growth}`,
      level: growth <= 2,
    };
  }
  const mega = (bytes: number | undefined) => ((bytes ?? 0) / 1e6).toFixed(2);
  const growth = slope(points);
  const text = `${name}: ${mega(values[0])} MB at first, ${mega(values.at(-1))} MB at last, ${(growth / 1000).toFixed(1)} KB a deploy`;
  return { text, level: growth <= bounds[kind] };
}
