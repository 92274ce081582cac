import type { DomainView } from '../edge/domain.ts';
import type { Notice } from '../protocol/runner.ts';
import type { AppProtocol } from '../protocol/worker.ts';

/**
 * Notes that an app does not work behind nginx, which speaks plain HTTP to apps.
 * @param protocol that the app speaks on its port
 */
export function behindNginx(protocol: AppProtocol, { name, url }: DomainView): Notice[] {
  if (protocol === 'http') return [];
  return [
    {
      code: 'not_plain_http',
      message: `The app speaks ${protocolNames[protocol]} on its port, but nginx speaks plain HTTP to apps: ${url} answers 502.`,
      hint: `Let the app listen with node:http; nginx terminates TLS for its domains. Or run \`sluice domains remove ${name}\` and use the port.`,
    },
  ];
}

const protocolNames: Record<AppProtocol, string> = {
  http: 'HTTP',
  https: 'HTTPS',
  http2: 'HTTP/2',
  http2s: 'HTTP/2 over TLS',
  tcp: 'a protocol other than HTTP',
  tls: 'a protocol other than HTTP over TLS',
};
