import { setTimeout as sleep } from 'node:timers/promises';
import { http } from '../system/net/http.ts';
import type { WantedHost } from './documents.ts';
import { addressToAsk, type Listening } from './listening.ts';
import { NginxError } from './nginx.ts';
import { probePath } from './nginx-config.ts';

const https = process.getBuiltinModule('node:https');

interface Probe {
  host: WantedHost;
  mark: string;
  ports: { http: number; https: number };
  listening: Listening;
}

/** Whether nginx answers by this configuration, on both ports. */
export async function isLive(probe: Probe): Promise<boolean> {
  const answers = await Promise.all([ask(probe, 'http'), ask(probe, 'https')]);
  return answers.every((answer) => answer === probe.mark);
}

/** How long a reload may take, in ms. */
const patience = 10_000;

/**
 * Waits until nginx goes by a configuration, and by no other. A reload says nothing of how it went: nginx keeps its old
 * configuration where a port is taken by another program, and tells that to its error log alone.
 * @param probe asks for it; undefined where it has no host that could be asked
 * @param isReplaced whether what went by another one is gone
 * @throws NginxError
 */
export async function untilLive(probe: Probe | undefined, isReplaced: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + patience;
  for (;;) {
    const answers = probe === undefined || (await isLive(probe));
    if (answers && (await isReplaced())) return;
    if (performance.now() > end) return settleFor(probe, answers);
    await sleep(50);
  }
}

/** One that nginx has begun to answer by is not taken back. */
function settleFor(probe: Probe | undefined, answers: boolean): void {
  if (probe === undefined)
    throw new NginxError('nginx still goes by the configuration of before', errorLogTells);
  if (answers) {
    process.stderr.write('a worker of nginx still takes connections by the configuration of before\n');
    return;
  }
  throw new NginxError(
    `nginx took the configuration, but does not answer by it on the ports ${probe.ports.http} and ${probe.ports.https}`,
    errorLogTells,
  );
}

const errorLogTells = "nginx's error log (/var/log/nginx/error.log) tells what it could not do.";

/** What it answers; undefined where it does not. */
function ask({ host, ports, listening }: Probe, kind: 'http' | 'https'): Promise<string | undefined> {
  const options = {
    ...{
      host: addressToAsk(listening[kind]),
      port: ports[kind],
      path: probePath,
      agent: false,
      timeout: 2000,
    },
    headers: { host: host.name },
    // It is our own nginx that is asked, about itself; its certificate may be one of our own making.
    ...(kind === 'https' && { servername: host.name, rejectUnauthorized: false }),
  };
  return new Promise((resolve) => {
    const request = (kind === 'http' ? http : https).get(options, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        body = (body + chunk).slice(0, 100);
      });
      response.on('end', () => resolve(body));
      response.on('error', () => resolve(undefined));
    });
    request.on('timeout', () => request.destroy());
    request.on('error', () => resolve(undefined));
  });
}
