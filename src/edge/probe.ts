import { setTimeout as sleep } from 'node:timers/promises';
import type { DesiredHost } from './desired.ts';
import { bodyOf, requestHost } from './host-request.ts';
import { addressToAsk, type Listening } from './listening.ts';
import { NginxError } from './nginx.ts';
import { probePath } from './nginx-config.ts';

interface Probe {
  host: DesiredHost;
  mark: string;
  ports: { http: number; https: number };
  listening: Listening;
}

/** Returns true if nginx answers with this configuration on both ports. */
export async function isLive({ host, mark, ports, listening }: Probe): Promise<boolean> {
  const kinds = ['http', 'https'] as const;
  const answers = kinds.map(async (kind) => {
    const options = {
      host: addressToAsk(listening[kind]),
      port: ports[kind],
      path: probePath,
      timeout: 2000,
    };
    return (await bodyOf(await requestHost(kind, host.name, options))) === mark;
  });
  return (await Promise.allSettled(answers)).every((answer) => answer.status === 'fulfilled' && answer.value);
}

/**
 * Waits until nginx uses a configuration, and only this one. A reload reports no failure: if another program has a port,
 * nginx continues with its old configuration, and writes the reason to its error log only.
 * @param probe undefined if the configuration has no host to ask
 * @param isReplaced returns true if no worker with an earlier configuration accepts connections
 * @param deadline in ms
 * @throws NginxError
 */
export async function waitUntilLive(
  probe: Probe | undefined,
  isReplaced: () => Promise<boolean>,
  deadline: number,
): Promise<void> {
  for (const end = performance.now() + deadline; ; await sleep(50)) {
    const isAnswering = probe === undefined || (await isLive(probe));
    if (isAnswering && (await isReplaced())) return;
    if (performance.now() <= end) continue;
    // A configuration that nginx answers with is not taken back.
    if (probe !== undefined && isAnswering) {
      process.stderr.write('a worker of nginx still accepts connections with the previous configuration\n');
      return;
    }
    throw new NginxError(
      probe === undefined
        ? 'nginx still uses the previous configuration'
        : `nginx loaded the configuration, but does not answer with it on the ports ${probe.ports.http} and ${probe.ports.https}`,
      'See the error log of nginx, /var/log/nginx/error.log.',
    );
  }
}
