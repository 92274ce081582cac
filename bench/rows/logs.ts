import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { rotatedLogs } from '../../src/logs/files.ts';
import { appLog } from '../../test/support/app-log.ts';
import { freePort } from '../../test/support/free-port.ts';
import { TestRunner } from '../../test/support/runner.ts';
import { waitFor } from '../../test/support/wait.ts';
import { apps } from '../apps.ts';
import type { Measurement, Row, Scope, Side } from '../measurement.ts';
import { Pm2 } from '../pm2.ts';
import { cpuTime, processTree } from '../processes.ts';
import { inScope } from '../run.ts';

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
}

type Keep = (scope: Pick<Scope, 'after'>, pace: Pace) => Promise<Keeping>;

const paceTitles: Record<Pace, string> = {
  flood: 'as fast as two workers can print',
  steady: 'one per ms from each of two workers',
};

const allPaces = Object.keys(paces) as Pace[];

/**
 * CPU per line of the process that keeps the logs: our runner, which rotates and compresses, and PM2's daemon, which does
 * neither and leaves the writing of the files to its workers.
 */
export const logsMeasurement: Measurement = {
  name: 'logs',
  rounds: 5,
  quickRounds: 0,
  rows: allPaces.map((pace) => ({
    title: `CPU per line of output in the runner, ${paceTitles[pace]}`,
    unit: 'µs',
    ours: `sluice ${pace}`,
    rival: { name: "PM2's daemon", figure: `pm2 ${pace}` },
    goal: { ratio: 0.333 },
  })),
  async prepare() {
    return allPaces.flatMap((pace) => [
      sideOf(`sluice ${pace}`, pace, keepInRunner(plainText, fewSecrets)),
      sideOf(`pm2 ${pace}`, pace, keepInPm2),
    ]);
  },
};

/**
 * CPU per line in the runner with the values of 1,000 variables to mask, compared with none. One value has 127 KiB, and one has
 * 10,000 lines.
 */
export const maskingMeasurement: Measurement = {
  name: 'masking',
  rounds: 5,
  quickRounds: 0,
  rows: Object.keys(texts).flatMap((name) => allPaces.map((pace) => maskingRow(name, pace))),
  async prepare() {
    const value = (bytes: number) => randomBytes(bytes).toString('base64url');
    const lines = Array.from({ length: 10_000 }, () => value(9)).join('\n');
    const secrets = [...Array.from({ length: 998 }, () => value(18)), value(95 * 1024), lines];
    return Object.entries(texts).flatMap(([name, text]) =>
      allPaces.flatMap((pace) => [
        sideOf(`masked ${name} ${pace}`, pace, keepInRunner(text, secrets)),
        sideOf(`unmasked ${name} ${pace}`, pace, keepInRunner(text, [])),
      ]),
    );
  },
};

function maskingRow(name: string, pace: Pace): Row {
  return {
    title: `CPU per masked line, ${name}, ${paceTitles[pace]}`,
    unit: 'µs',
    ours: `masked ${name} ${pace}`,
    rival: { name: 'nothing to mask', figure: `unmasked ${name} ${pace}` },
    goal: { ratio: 2 },
  };
}

function sideOf(figure: string, pace: Pace, keep: Keep): Side {
  return () => inScope(async (scope) => ({ [figure]: await measured(pace, await keep(scope, pace)) }));
}

/** @returns µs per line in the process that keeps the logs */
async function measured(pace: Pace, { keeper, workers, arrived }: Keeping): Promise<number> {
  await atRest([keeper, ...workers]);
  const before = await cpuTime([keeper]);
  for (const worker of workers) process.kill(worker, 'SIGUSR2');
  await pause(1000);
  await atRest([keeper, ...workers]);
  const lines = await waitFor(arrived, { timeout: 60_000, what: 'all lines' });
  // A file may be complete while messages about it are still on their way.
  await atRest([keeper, ...workers]);
  const cost = ((await cpuTime([keeper])) - before) / (workerCount * paces[pace]);
  assertAll(lines, paces[pace]);
  return cost;
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

function keepInRunner(text: string, secrets: string[]): Keep {
  return async (scope, pace) => {
    const runner = await TestRunner.start(scope);
    const environment = { LINES: String(paces[pace]), PACE: pace, TEXT: text };
    const spec = { ...runner.spec('', { workers: workerCount }, environment), script: apps.lines };
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
    };
  };
}

async function keepInPm2(scope: Pick<Scope, 'after'>, pace: Pace): Promise<Keeping> {
  const pm2 = await Pm2.create(scope);
  const env = { PORT: String(await freePort()), LINES: String(paces[pace]), PACE: pace, TEXT: plainText };
  await pm2.start({ script: apps.lines, workers: workerCount, env });
  const [keeper = 0, ...workers] = await processTree(await pm2.daemon());
  return { keeper, workers, arrived: async () => (await pm2.output()).split('\n').slice(0, -1) };
}
