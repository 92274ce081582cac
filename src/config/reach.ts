import { isLoopback } from '../system/net/address.ts';
import { formatDuration } from '../system/text/format.ts';
import { type EnvironmentId, environmentName } from './paths.ts';

/**
 * Place of the clients that reach an app: `domain` for those of nginx, `network` for those of the addresses on which the app listens,
 * and `server` if only programs on the server reach the app. The firewall is not known.
 */
export type Reach = 'domain' | 'network' | 'server';

interface Live {
  release: EnvironmentId & { url: string | null; reach: Reach | null; number: number };
  tookMs: number;
}

/** Describes a release that went live. For a URL that only the server can reach, names the command that adds a domain. */
export function describeLive({ release, tookMs }: Live): string {
  const { url, reach, number } = release;
  const text = `release ${number} in ${formatDuration(tookMs)}`;
  if (url === null) return `${environmentName(release)} ${text}, without a port`;
  const add = `\`sluice domains add ${environmentName(release)} NAME\` gives it a name`;
  if (reach === 'server') return `${url} ${text} (on the server only: ${add})`;
  // An app that listens on all addresses has no name by itself.
  const isUnnamed = reach === 'network' && isLoopback(new URL(url).hostname);
  return `${url} ${text}${isUnnamed ? ' (on all addresses of the server)' : ''}`;
}
