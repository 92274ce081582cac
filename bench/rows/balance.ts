import { freePort } from '../../test/support/free-port.ts';
import { fetchText } from '../../test/support/http.ts';
import { waitFor } from '../../test/support/wait.ts';
import { filesOf, startAppliance } from '../appliance.ts';
import { apps } from '../apps.ts';
import { balance } from '../figures.ts';
import type { Counts } from '../load/crowd.ts';
import { LoadProcess } from '../load/process.ts';
import type { Figures, Measurement, Row, Scope, Side } from '../measurement.ts';
import { Pm2 } from '../pm2.ts';

const workerCounts = [2, 4, 8];
const bursts = [32, 64, 200, 1000];
const typical = 'burst of 200 connections';
const webSockets = { connections: 400, rate: 200 };

/** Kind of load: its title, and where its connections are. */
interface Kind {
  title: string;
  counts(load: LoadProcess, port: number): Promise<Counts>;
}

const kinds: Kind[] = [
  ...bursts.map(
    (connections): Kind => ({
      title: `burst of ${connections} connections`,
      counts: (load: LoadProcess, port: number) => load.burst(port, connections),
    }),
  ),
  {
    title: `${webSockets.connections} WebSockets, ${webSockets.rate} per second`,
    counts: (load, port) => load.webSockets(port, webSockets.connections, webSockets.rate),
  },
];

/** Largest number of connections of a worker, divided by the mean, 1 s after the connections have arrived. */
export const balanceMeasurement: Measurement = {
  name: 'balance',
  rounds: 5,
  quickRounds: 1,
  rows: workerCounts.flatMap((workers) => kinds.map(({ title }) => rowOf(title, workers))),
  async prepare(scope) {
    const load = LoadProcess.start(scope);
    const counts = scope.quick ? [4] : workerCounts;
    return [
      sideOf('sluice', await serveBySluice(scope, counts), load),
      sideOf('pm2', await serveByPm2(scope, counts), load),
    ];
  },
};

function rowOf(title: string, workers: number): Row {
  const isTypical = workers === 4 && title === typical;
  return {
    title: `${title} on ${workers} workers, max/mean`,
    ...(isTypical && {
      short: `connections of the busiest worker, compared with the mean: ${title}, ${workers} workers`,
    }),
    unit: '',
    ours: key('sluice', title, workers),
    rival: { name: 'PM2', figure: key('pm2', title, workers) },
    goal: { figure: 1.1, ratio: 1 },
  };
}

function key(side: string, title: string, workers: number): string {
  return `${side}, ${title}, ${workers}`;
}

/** @returns port of each number of workers */
async function serveBySluice(scope: Scope, counts: number[]): Promise<Map<number, number>> {
  const sluice = await startAppliance(scope);
  const ports = new Map<number, number>();
  for (const workers of counts) {
    const name = `shop-${workers}`;
    await sluice.deploy(name, await filesOf(apps.probe, { workers }));
    ports.set(workers, (await sluice.status(name)).port);
  }
  return ports;
}

/** @returns port of each number of workers */
async function serveByPm2(scope: Scope, counts: number[]): Promise<Map<number, number>> {
  const pm2 = await Pm2.create(scope);
  const ports = new Map<number, number>();
  for (const workers of counts) {
    const port = await freePort();
    await pm2.start({ script: apps.probe, name: `shop-${workers}`, workers, env: { PORT: String(port) } });
    await waitFor(() => fetchText(port).catch(() => undefined), { what: 'an app in PM2' });
    ports.set(workers, port);
  }
  return ports;
}

function sideOf(name: string, ports: Map<number, number>, load: LoadProcess): Side {
  return async () => {
    const figures: Figures = {};
    for (const [workers, port] of ports) {
      for (const { title, counts } of kinds) {
        const found = await counts(load, port);
        figures[key(name, title, workers)] = balance([...found.values()], workers);
      }
    }
    return figures;
  };
}
