import { isLoopback } from '../system/net/address.ts';
import { type EnvironmentId, environmentName } from './paths.ts';

/** Returns a remark for a URL that only the server can reach, with the command that adds a domain; else ''. */
export function localOnlyRemark(url: string, id: EnvironmentId): string {
  if (!isLoopback(new URL(url).hostname)) return '';
  return ` (on the server only: \`sluice domains add ${environmentName(id)} NAME\` gives it a name)`;
}
