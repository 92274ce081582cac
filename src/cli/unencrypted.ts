import { isLoopback } from '../system/net/address.ts';
import { complain, paint } from './output.ts';
import type { ServerAddress } from './server-address.ts';

let told = false;

/** Warns, once, where a token is about to travel so that everybody on the way can read it and use it. */
export function warnOfPlainHttp(address: ServerAddress): void {
  if (told || address.kind !== 'url') return;
  const { protocol, hostname, origin } = address.url;
  if (protocol !== 'http:' || isLoopback(hostname)) return;
  told = true;
  const warning = `warning: the token travels unencrypted to ${origin}`;
  const remedy = `  Use an https:// URL (\`sluice domains\` on the server), or a tunnel: ssh -L 8700:127.0.0.1:8700 ${hostname}`;
  complain(`${paint('yellow', warning, process.stderr)}\n${remedy}`);
}
