import { connect } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { freePort } from '../../test/support/free-port.ts';
import { fetchText } from '../../test/support/http.ts';
import { waitFor } from '../../test/support/wait.ts';
import { startAlone } from '../alone.ts';
import { allPids, filesOf, startAppliance } from '../appliance.ts';
import { apps } from '../apps.ts';
import type { Measurement, Scope, Side } from '../measurement.ts';
import { Pm2 } from '../pm2.ts';
import { cpuTime } from '../processes.ts';
import { autocannon } from '../programs.ts';
import { inScope } from '../run.ts';

const clients = 32;
// With 40,000 kept-alive requests or 6,000 new connections, the compiler of V8 is still at work, and the result depends on luck.
const requests = { kept: 160_000, fresh: 16_000 };

/** Port of the workers, and all processes that take part. */
interface Serving {
  port: number;
  pids: number[];
}

const ways: Record<string, (scope: Pick<Scope, 'after'>) => Promise<Serving>> = {
  sluice: (scope) => serveBySluice(scope, 2),
  pm2: serveByPm2,
  plain: (scope) => startAlone(scope, apps.shared),
  // Two plain workers share the connections unevenly, and the busier one handles more requests in each turn of its event loop.
  'sluice alone': (scope) => serveBySluice(scope, 1),
  'plain alone': (scope) => startAlone(scope, apps.hello, {}, 1),
};

/** CPU time of all processes of the server per request. */
export const cpuMeasurement: Measurement = {
  name: 'cpu',
  rounds: 7,
  quickRounds: 1,
  rows: [
    {
      title: 'CPU per request on a new connection',
      short: 'CPU per request on a new connection',
      unit: 'µs',
      ours: 'sluice fresh',
      rival: { name: 'PM2', figure: 'pm2 fresh' },
      goal: { ratio: 0.35 },
    },
    {
      title: 'CPU per request on a new connection',
      unit: 'µs',
      ours: 'sluice fresh',
      rival: { name: 'plain workers', figure: 'plain fresh' },
      goal: {},
    },
    {
      title: 'CPU per request on a kept-alive connection',
      short: 'CPU per request on a kept-alive connection',
      unit: 'µs',
      ours: 'sluice kept',
      rival: { name: 'PM2', figure: 'pm2 kept' },
      goal: { ratio: 1 },
    },
    {
      title: 'CPU per request on a kept-alive connection',
      unit: 'µs',
      ours: 'sluice kept',
      rival: { name: 'plain workers', figure: 'plain kept' },
      goal: { ratio: 1.03 },
    },
    {
      title: 'CPU per request on a kept-alive connection, one worker',
      unit: 'µs',
      ours: 'sluice alone kept',
      rival: { name: 'a plain process', figure: 'plain alone kept' },
      goal: { ratio: 1.03 },
    },
  ],
  async prepare({ quick }) {
    // Started again in each round, because a process keeps its luck with memory and the compiler.
    return Object.entries(ways).map(([name, serve]): Side => {
      return () =>
        inScope(async (scope) => {
          const serving = await serve(scope);
          // Waits until the work after a start has ended: the rest of the deploy, and saving the compiled code.
          await pause(quick ? 1000 : 5000);
          return measured(name, serving, quick ? 0.2 : 1);
        });
    });
  },
};

async function measured(name: string, { port, pids }: Serving, share: number) {
  const cost = async (send: (total: number) => Promise<void>, total: number) => {
    await send(total / 2);
    const before = await cpuTime(pids);
    await send(total);
    return ((await cpuTime(pids)) - before) / total;
  };
  const kept = await cost(
    (total) => autocannon(`http://127.0.0.1:${port}/`, clients, total),
    requests.kept * share,
  );
  if (name.endsWith('alone')) return { [`${name} kept`]: kept };
  const fresh = await cost((total) => newConnections(port, total), requests.fresh * share);
  return { [`${name} kept`]: kept, [`${name} fresh`]: fresh };
}

async function serveBySluice(scope: Pick<Scope, 'after'>, workers: number): Promise<Serving> {
  const sluice = await startAppliance(scope);
  await sluice.deploy('shop', await filesOf(apps.hello, { workers }));
  return { port: (await sluice.status('shop')).port, pids: await allPids(sluice) };
}

async function serveByPm2(scope: Pick<Scope, 'after'>): Promise<Serving> {
  const [pm2, port] = [await Pm2.create(scope), await freePort()];
  await pm2.start({ script: apps.hello, env: { PORT: String(port) } });
  await waitFor(() => fetchText(port).catch(() => undefined), { what: 'the app in PM2' });
  return { port, pids: await pm2.pids() };
}

/** Sends requests, each on a connection of its own. */
async function newConnections(port: number, total: number): Promise<void> {
  let left = total;
  const client = async () => {
    for (; left > 0; left -= 1) await requestOnce(port);
  };
  await Promise.all(Array.from({ length: clients }, client));
}

function requestOnce(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1' });
    socket.on('connect', () => socket.write('GET / HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n'));
    socket.on('data', () => undefined);
    socket.on('close', () => resolve()).on('error', reject);
  });
}
