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

/** Lines of each worker: as fast as it can, and one each millisecond. */
const paces = { flood: 200_000, steady: 10_000 };

type Pace = keyof typeof paces;

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
        `CPU per line, ${pace}: ${tell('runner', ours)}${pm2 ? `; ${tell('PM2 daemon', theirs)}` : ''}`,
      );
      if (pm2 === undefined) continue;
      const ratios = ours.map(({ keeper }, round) => keeper / (theirs[round]?.keeper ?? Number.NaN));
      row(`log line, ${pace}, runner / PM2 daemon`, median(ratios).toFixed(3), '≤ 0.333');
    }
  });
}

/** µs per line. */
interface Costs {
  keeper: number;
  workers: number;
}

function tell(who: string, costs: Costs[]): string {
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
    demandAll(lines, paces[pace]);
    return costs;
  } finally {
    await keeping.stop();
  }
}

/** Waits until `pids` have had next to nothing to do for a second. */
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

/** A figure is worth nothing where lines are missing. */
function demandAll(lines: string[], wanted: number): void {
  const counts = new Map<string, number>();
  for (const line of lines) counts.set(line, (counts.get(line) ?? 0) + 1);
  const twice = [...counts.values()].filter((count) => count === workerCount).length;
  if (twice !== wanted || lines.length !== workerCount * wanted)
    throw new Error(`${lines.length} lines have arrived, ${twice} from both, of ${wanted} from each`);
}

async function keepInRunner(pace: Pace): Promise<Keeping> {
  const cleanups: (() => unknown)[] = [];
  const stop = async () => {
    for (const cleanup of cleanups.reverse()) await cleanup();
  };
  try {
    const runner = await TestRunner.start({
      after: (cleanup) => void cleanups.push(cleanup as () => unknown),
    });
    const settings = { workers: workerCount };
    const environment = { LINES: String(paces[pace]), PACE: pace };
    const spec = { ...runner.spec('', settings, environment), script };
    // As many as an app has, of which none is ever printed.
    const secrets = [
      'postgres://shop:correct-horse-battery@localhost/shop',
      'a session secret',
      'sk_live_0123456789',
    ];
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
  const daemon = await pm2.start(script, { PORT: String(port), LINES: String(paces[pace]), PACE: pace });
  return {
    keeper: daemon.pid,
    workers: daemon.workers,
    arrived: async () => (await daemon.output()).split('\n').slice(0, -1),
    stop: () => daemon.stop(),
  };
}
