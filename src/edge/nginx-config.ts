import { createHash } from 'node:crypto';
import { toUrlHost } from '../system/net/address.ts';
import type { WantedHost } from './documents.ts';
import type { Listening, Place } from './listening.ts';

interface NginxFacts {
  /** such as [1, 22, 1] */
  version: readonly number[];
  listening: Listening;
  ports: { http: number; https: number };
  /** unix socket of the API */
  apiSocket: string;
  /** directory of the answers to an ACME server */
  challenges: string;
  /** path of what a host's certificate and key are in */
  certificateOf: (host: WantedHost) => string;
}

interface NginxConfig {
  texts: ConfigTexts;
  /** names these texts; nginx answers with it at `probePath` once nginx uses them */
  mark: string;
}

/** Our files in nginx's configuration; undefined for a file that is not there. */
export interface ConfigTexts {
  /** in `conf.d` */
  main: string | undefined;
  /** file that nginx reads last; has our servers if, in `main`, one of them would be the default of other sites */
  last: string | undefined;
}

/** When a client may ask again for an app that is down, in seconds. */
const retryAfter = 10;

/** Where nginx says which configuration it goes by: below the path that is ours on every host anyway. */
export const probePath = '/.well-known/acme-challenge/sluice-configuration';

/** All that is ours in nginx's configuration; a comment alone if there is no host. @param isSplit whether servers come last */
export function nginxConfig(hosts: readonly WantedHost[], facts: NginxFacts, isSplit = false): NginxConfig {
  const common = hosts.length === 0 ? '' : preamble(hosts, facts);
  const served =
    hosts.length === 0
      ? ''
      : [...catchAlls(hosts, facts), ...hosts.map((host) => servers(host, facts))].join('\n');
  const body = `${common}\n${served}`;
  const mark = createHash('sha256').update(body).digest('hex').slice(0, 32);
  const file = (text: string) => head + mark + text.replaceAll('@MARK@', mark);
  const isEmpty = hosts.length === 0;
  const main = file(isEmpty ? '\n' : `\n${isSplit ? common : body}`);
  return { texts: { main, last: isSplit && !isEmpty ? file(`\n${served}`) : undefined }, mark };
}

const head = `# Written by Sluice (sluice-edge.service), whole, whenever \`sluice domains\` or a certificate changes: edit
# other files of nginx as you like, and never this one. `;

function preamble(hosts: readonly WantedHost[], facts: NginxFacts): string {
  const upstreams = new Map(hosts.map((host) => [upstreamName(host), serverAddress(host, facts)]));
  return `
map $http_upgrade $sluice_connection {
    default upgrade;
    ''      '';
}
# Nobody has accepted the connection: the app is stopped, has crashed, or has not started yet.
map $upstream_connect_time $sluice_is_down {
    default '';
    '-'     yes;
}
${[...upstreams].map(([name, address]) => upstream(name, address)).join('')}`;
}

function catchAlls(hosts: readonly WantedHost[], facts: NginxFacts): string[] {
  return [
    catchAll('http', '    return 444;', facts),
    catchAll('https', `${tls}\n${refuseHandshake(hosts, facts)}`, facts),
  ];
}

/**
 * Returns the server for requests without a name or with an unknown name, so that none of our apps answers them. Where others
 * listen, one of their sites is the default, and stays so.
 */
function catchAll(kind: 'http' | 'https', answer: string, facts: NginxFacts): string {
  const places = facts.listening[kind].filter(({ isShared }) => !isShared);
  if (places.length === 0) return '';
  return `
server {
${listen(facts, kind, places)}
    server_name sluice.invalid;
    client_header_timeout 15s;
${answer}
}
`;
}

/**
 * Idle connections to an app are closed by us, not by the app: one that Node.js closes (after 5 s) in the same instant as
 * a request is sent on it would fail that request. A deploy closes none of them: they move to the new workers.
 */
function upstream(name: string, address: string): string {
  return `
upstream ${name} {
    server ${address};
    keepalive 64;
    keepalive_timeout 4s;
}
`;
}

function servers(host: WantedHost, facts: NginxFacts): string {
  const file = facts.certificateOf(host);
  const { https } = facts.ports;
  const there = `https://${host.name}${https === 443 ? '' : `:${https}`}$request_uri`;
  return `
server {
${listen(facts, 'http')}
    server_name ${host.name};
    server_tokens off;
    client_header_timeout 15s;
    location ^~ /.well-known/acme-challenge/ {
        alias "${facts.challenges}/";
        default_type text/plain;
        disable_symlinks on "from=${facts.challenges}";
    }
${probe}
    location / {
        if ($request_method ~ ^(GET|HEAD)$) {
            return 301 ${there};
        }
        return 308 ${there};
    }
}

server {
${listen(facts, 'https')}
    server_name ${host.name};
    ssl_certificate     "${file}";
    ssl_certificate_key "${file}";
${tls}
    server_tokens off;
    gzip off;
    client_max_body_size 0;
    client_header_timeout 15s;
    client_body_timeout 60s;
    send_timeout 60s;
    reset_timedout_connection on;
${probe}
    location / {
        proxy_pass http://${upstreamName(host)};
        proxy_http_version 1.1;
        proxy_redirect off;
        # A request is sent once, whatever becomes of it.
        proxy_next_upstream off;
        # Both ways at once, and no copy of an upload or of a slow client's download on this disk.
        proxy_request_buffering off;
        proxy_buffering off;
        proxy_buffer_size 32k;
        proxy_buffers 4 32k;
        proxy_busy_buffers_size 64k;
        proxy_read_timeout 3600s;
        proxy_send_timeout 3600s;
${proxyHeaders}
        error_page 502 = @sluice_no_answer;
    }
    location @sluice_no_answer {
        if ($sluice_is_down) {
            add_header Retry-After ${retryAfter} always;
            return 503;
        }
        return 502;
    }
}
`;
}

/** Set, not added to: an app that trusts its proxy believes what stands here, so none of it may come from a client. */
const proxyHeaders = Object.entries({
  Host: '$host',
  Connection: '$sluice_connection',
  Upgrade: '$http_upgrade',
  'X-Forwarded-For': '$remote_addr',
  'X-Forwarded-Proto': '$scheme',
  'X-Forwarded-Host': '$host',
  'X-Forwarded-Port': '$server_port',
  'X-Real-IP': '$remote_addr',
  Forwarded: '""',
  'X-Forwarded-Server': '""',
  'X-Forwarded-Prefix': '""',
  'X-Forwarded-Ssl': '""',
  'X-Client-IP': '""',
  Proxy: '""',
})
  .map(([name, value]) => `        proxy_set_header ${name} ${value};`)
  .join('\n');

const probe = `    location = ${probePath} {
        default_type text/plain;
        return 200 "@MARK@";
    }`;

/** What browsers of the last ten years speak (source: Mozilla's guidelines for TLS, "intermediate"). */
const tls = `    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305;
    ssl_prefer_server_ciphers off;
    ssl_session_cache shared:sluice:5m;
    ssl_session_timeout 1d;
    ssl_session_tickets off;`;

/** nginx can do without a certificate for that from 1.19.4 on; Ubuntu 22.04 has 1.18. */
function refuseHandshake(hosts: readonly WantedHost[], facts: NginxFacts): string {
  if (isAtLeast(facts.version, [1, 19, 4])) return '    ssl_reject_handshake on;';
  const file = facts.certificateOf(hosts[0] as WantedHost);
  return `    ssl_certificate     "${file}";\n    ssl_certificate_key "${file}";\n    return 444;`;
}

function listen(
  { version, ports, listening }: NginxFacts,
  kind: 'http' | 'https',
  places = listening[kind],
): string {
  const hasDirective = isAtLeast(version, [1, 25, 1]);
  const options = ({ http2 }: Place) =>
    kind === 'http' ? '' : http2 && !hasDirective ? ' ssl http2' : ' ssl';
  const lines = places.map((place) => {
    const where = place.address === '0.0.0.0' ? '' : `${toUrlHost(place.address)}:`;
    return `    listen ${where}${ports[kind]}${options(place)};`;
  });
  if (kind === 'https' && hasDirective) lines.push('    http2 on;');
  return lines.join('\n');
}

function upstreamName(host: WantedHost): string {
  return 'api' in host ? 'sluice_api' : `sluice_${host.address.replaceAll(/[^0-9a-f]/gi, '_')}_${host.port}`;
}

function serverAddress(host: WantedHost, { apiSocket }: NginxFacts): string {
  return 'api' in host ? `unix:${apiSocket}` : `${toUrlHost(host.address)}:${host.port}`;
}

function isAtLeast(version: readonly number[], least: readonly number[]): boolean {
  for (const [index, wanted] of least.entries()) {
    const have = version[index] ?? 0;
    if (have !== wanted) return have > wanted;
  }
  return true;
}
