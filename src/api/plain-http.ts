import type { Context } from 'koa';
import { isLoopback } from '../system/net/loopback.ts';

/**
 * What whoever sent a token should know where it came over the network as it is; null where it did not. What comes from
 * loopback comes from this machine: from our own edge, which speaks TLS, a tunnel, or somebody here.
 */
export function tokenInTheClear({ req }: Pick<Context, 'req'>): string | null {
  const { remoteAddress } = req.socket;
  // One that has been closed meanwhile has none, and nobody to tell.
  if (remoteAddress === undefined || isLoopback(remoteAddress)) return null;
  return `warning: your token came here unencrypted, over http: whoever is on the way can read it and use it.
  Push over ssh, or to an https:// URL, and replace the token: sluice token revoke NAME, sluice token create NAME
`;
}
