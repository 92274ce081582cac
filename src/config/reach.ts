import { isLoopback } from '../system/net/address.ts';
import { formatDuration } from '../system/text/format.ts';
import { type EnvironmentId, environmentName } from './paths.ts';

interface Live {
  release: EnvironmentId & { url: string | null; number: number };
  tookMs: number;
}

/** Describes a release that went live. For a URL that only the server can reach, names the command that adds a domain. */
export function describeLive({ release, tookMs }: Live): string {
  const { url, number } = release;
  const text = `release ${number} in ${formatDuration(tookMs)}`;
  if (url === null) return `${environmentName(release)} ${text}, without a port`;
  const add = `\`sluice domains add ${environmentName(release)} NAME\` gives it a name`;
  const reach = isLoopback(new URL(url).hostname) ? ` (on the server only: ${add})` : '';
  return `${url} ${text}${reach}`;
}
