import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { rotatedLogs } from '../src/logs/files.ts';
import { appLog } from '../test/support/app-log.ts';
import { freePort } from '../test/support/free-port.ts';
import { TestRunner } from '../test/support/runner.ts';
import { waitFor } from '../test/support/wait.ts';
import { Pm2 } from './pm2.ts';
import { cpuTime, inScope, median, row } from './support.ts';

const script = fileURLToPath(new URL('apps/lines.cjs', import.meta.url));
const roundCount = 3;
const workerCount = 2;

/** Lines of each worker: as fast as the worker can, and one each millisecond. */
const paces = { flood: 100_000, steady: 10_000 };

type Pace = keyof typeof paces;

const plainText = 'of a log with a usual number of characters';

/** Texts of lines whose masking is compared with no masking. */
const texts = {
  plain: plainText,
  JSON: '{"level":30,"time":1767225600000,"pid":4711,"hostname":"vps","reqId":"req-1a","msg":"request completed","responseTime":1.25}',
  'access log':
    '203.0.113.7 - - "GET /search?q=red%20shoes&page=2 HTTP/1.1" 200 1534 "-" "Mozilla/5.0 (X11; Linux x86_64)"',
  'stack traces': JSON.stringify({
    level: 50,
    err: {
      message: 'connect ECONNREFUSED 127.0.0.1:5432',
      stack: `Error: connect ECONNREFUSED 127.0.0.1:5432\n${'    at query (/srv/shop/node_modules/pg/lib/client.js:526:17)\n'.repeat(4)}`,
    },
  }),
  'JSON in JSON': JSON.stringify({
    level: 30,
    body: JSON.stringify({ id: 7, name: 'red shoes', tags: ['a', 'b'] }),
  }),
  'Chinese as \\u4e2d': '\\u8ba2\\u5355\\u5df2\\u5b8c\\u6210 '.repeat(5),
};

/** Program that stores the logs, with its workers, before the first output. */
interface Keeping {
  keeper: number;
  workers: number[];
  /** the texts of all lines that have arrived; undefined while work on them is left */
  arrived(): Promise<string[] | undefined>;
  stop(): Promise<unknown>;
}

/**
 * CPU per line of the process that keeps the logs of two workers: our runner, which rotates and compresses, and PM2's
 * daemon, which does neither and leaves the writing of the files to its workers.
 */
export function benchLogs(): Promise<void> {
  return inScope(async (t) => {
    const pm2 = await Pm2.install(t);
    for (const pace of Object.keys(paces) as Pace[]) {
      const ours: Costs[] = [];
      const theirs: Costs[] = [];
      for (let round = 0; round < roundCount; round += 1) {
        ours.push(await measure(pace, keepInRunner));
        if (pm2 !== undefined) theirs.push(await measure(pace, (pace) => keepInPm2(pm2, pace)));
      }
      console.log(
        `CPU per line, ${pace}: ${describe('runner', ours)}${pm2 ? `; ${describe('PM2 daemon', theirs)}` : ''}`,
      );
      if (pm2 === undefined) continue;
      const ratios = ours.map(({ keeper }, round) => keeper / (theirs[round]?.keeper ?? Number.NaN));
      row(`log line, ${pace}, runner / PM2 daemon`, median(ratios).toFixed(3), '≤ 0.333');
    }
  });
}

/**
 * Measures the CPU per line in the runner with the values of 1,000 variables to mask, compared with none. One value has 127 KiB,
 * and one has 10,000 lines.
 */
export function benchMasking(): Promise<void> {
  return inScope(async () => {
    const value = (bytes: number) => randomBytes(bytes).toString('base64url');
    const lines = Array.from({ length: 10_000 }, () => value(9)).join('\n');
    const secrets = [...Array.from({ length: 998 }, () => value(18)), value(95 * 1024), lines];
    for (const [name, text] of Object.entries(texts)) {
      for (const pace of Object.keys(paces) as Pace[]) {
        const ratios: number[] = [];
        for (let round = 0; round < roundCount; round += 1) {
          const without = await measure(pace, (pace) => keepInRunner(pace, text, []));
          const masked = await measure(pace, (pace) => keepInRunner(pace, text, secrets));
          ratios.push(masked.keeper / without.keeper);
        }
        row(`masked line, ${name}, ${pace}`, median(ratios).toFixed(2), '≤ 2');
      }
    }
  });
}

/** µs per line. */
interface Costs {
  keeper: number;
  workers: number;
}

function describe(who: string, costs: Costs[]): string {
  const figure = (of: keyof Costs) => `${median(costs.map((each) => each[of])).toFixed(2)} µs`;
  return `${who} ${figure('keeper')}, its workers ${figure('workers')}`;
}

async function measure(pace: Pace, start: (pace: Pace) => Promise<Keeping>): Promise<Costs> {
  const keeping = await start(pace);
  const { keeper, workers } = keeping;
  try {
    await atRest([keeper, ...workers]);
    const before = { keeper: await cpuTime([keeper]), workers: await cpuTime(workers) };
    for (const worker of workers) process.kill(worker, 'SIGUSR2');
    await pause(1000);
    await atRest([keeper, ...workers]);
    const lines = await waitFor(() => keeping.arrived(), { timeout: 60_000, what: 'all lines' });
    // A file may be complete while messages about it are still on their way.
    await atRest([keeper, ...workers]);
    const total = workerCount * paces[pace];
    const cost = async (pids: number[], since: number) => ((await cpuTime(pids)) - since) / total;
    const costs = {
      keeper: await cost([keeper], before.keeper),
      workers: await cost(workers, before.workers),
    };
    assertAll(lines, paces[pace]);
    return costs;
  } finally {
    await keeping.stop();
  }
}

/** Waits until the processes use less than 20 ms of CPU in a second. */
async function atRest(pids: number[]): Promise<void> {
  await waitFor(
    async () => {
      const before = await cpuTime(pids);
      await pause(1000);
      return (await cpuTime(pids)) - before < 20_000;
    },
    { timeout: 120_000, what: 'an end of the work' },
  );
}

/** @throws Error if lines are missing: the figure is worthless then */
function assertAll(lines: string[], wanted: number): void {
  const counts = new Map<string, number>();
  for (const line of lines) counts.set(line, (counts.get(line) ?? 0) + 1);
  const twice = [...counts.values()].filter((count) => count === workerCount).length;
  if (twice !== wanted || lines.length !== workerCount * wanted)
    throw new Error(`${lines.length} lines have arrived, ${twice} from both, of ${wanted} from each`);
}

/** Values of the variables of a usual app, none of which is ever printed. */
const fewSecrets = [
  'postgres://shop:correct-horse-battery@localhost/shop',
  'a session secret',
  'sk_live_0123456789',
];

async function keepInRunner(pace: Pace, text = plainText, secrets = fewSecrets): Promise<Keeping> {
  const cleanups: (() => unknown)[] = [];
  const stop = async () => {
    for (const cleanup of cleanups.reverse()) await cleanup();
  };
  try {
    const runner = await TestRunner.start({
      after: (cleanup) => void cleanups.push(cleanup as () => unknown),
    });
    const settings = { workers: workerCount };
    const environment = { LINES: String(paces[pace]), PACE: pace, TEXT: text };
    const spec = { ...runner.spec('', settings, environment), script };
    spec.log = { ...spec.log, secrets };
    await runner.release(spec);
    const [target] = await runner.client.call('status', {});
    const { directory } = spec.log;
    return {
      keeper: runner.process.pid ?? 0,
      workers: target?.workers.map(({ pid }) => pid) ?? [],
      arrived: async () => {
        if (!(await rotatedLogs(directory)).every(({ compressed }) => compressed)) return undefined;
        return (await appLog(directory)).filter(({ stream }) => stream === 'out').map(({ text }) => text);
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function keepInPm2(pm2: Pm2, pace: Pace): Promise<Keeping> {
  const port = await freePort();
  const daemon = await pm2.start(script, {
    ...{ PORT: String(port), LINES: String(paces[pace]), PACE: pace },
    TEXT: plainText,
  });
  return {
    keeper: daemon.pid,
    workers: daemon.workers,
    arrived: async () => (await daemon.output()).split('\n').slice(0, -1),
    stop: () => daemon.stop(),
  };
}
