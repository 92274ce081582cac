import { createHash } from 'node:crypto';
import { isIPv4 } from 'node:net';
import gte from 'semver/functions/gte.js';
import { toUrlHost } from '../system/net/address.ts';
import type { DesiredHost } from './desired.ts';
import type { ListenAddress, Listening } from './listening.ts';

interface NginxFacts {
  /** such as `1.22.1` */
  version: string;
  listening: Listening;
  ports: { http: number; https: number };
  /** unix socket of the API */
  apiSocket: string;
  /** directory with the answers to an ACME server */
  challenges: string;
  /** returns the path of the file with a host's certificate and key */
  certificateOf: (host: DesiredHost) => string;
}

/** Our files in nginx's configuration; undefined for a missing file. */
export interface ConfigTexts {
  /** in `conf.d` */
  main: string | undefined;
  /** file that nginx reads last; has our servers if one of them would otherwise be the default of other sites */
  last: string | undefined;
}

/** Value of `Retry-After` for an app that is down, in seconds. */
const retryAfter = 10;

/** Path at which nginx answers with its `mark`. Its parent path is reserved on every host anyway. */
export const probePath = '/.well-known/acme-challenge/sluice-configuration';

/**
 * Returns our part of nginx's configuration: only a comment without a host.
 * @param isSplit true to put servers into `last`
 * @returns also a mark that identifies these texts; nginx answers with it at `probePath` once it uses them
 */
export function nginxConfig(hosts: readonly DesiredHost[], facts: NginxFacts, isSplit = false) {
  const [common, served] = hosts.length === 0 ? ['', ''] : [preamble(hosts, facts), allServers(hosts, facts)];
  const body = `${common}\n${served}`;
  const mark = createHash('sha256').update(body).digest('hex').slice(0, 32);
  const file = (text: string) => `${head}${mark}\n${text.replaceAll('@MARK@', mark)}`;
  const texts: ConfigTexts = isSplit
    ? { main: file(common), last: file(served) }
    : { main: file(body), last: undefined };
  return { texts, mark };
}

const author = '# Written by Sluice';

/** Returns true for the text of a file that Sluice writes for its domains. */
export function isOwnConfig(text: string): boolean {
  return text.startsWith(author);
}

const head = `${author} (sluice-edge.service), whole, whenever \`sluice domains\` or a certificate changes: edit
# other files of nginx as you like, and never this one. `;

function preamble(hosts: readonly DesiredHost[], facts: NginxFacts): string {
  const upstreams = new Map(hosts.map((host) => [upstreamName(host), upstream(host, facts)]));
  return `
map $http_upgrade $sluice_connection {
    default upgrade;
    ''      '';
}
# No process has accepted the connection: the app is stopped, has crashed, or has not started yet.
map $upstream_connect_time $sluice_is_down {
    default '';
    '-'     yes;
}
${hosts.some(hasAffinity) ? localAddresses : ''}${[...upstreams.values()].join('')}`;
}

function allServers(hosts: readonly DesiredHost[], facts: NginxFacts): string {
  return [
    catchAll('http', '    return 444;', facts),
    catchAll('https', `${tls}\n${refuseHandshake(hosts, facts)}`, facts),
    ...hosts.map((host) => servers(host, facts)),
  ].join('\n');
}

/**
 * Returns the server for requests without a name or with an unknown name, so that no app answers them. On sockets of other
 * sites, one of these sites stays the default.
 */
function catchAll(kind: 'http' | 'https', answer: string, facts: NginxFacts): string {
  const addresses = facts.listening[kind].filter(({ isShared }) => !isShared);
  if (addresses.length === 0) return '';
  return `
server {
${listen(facts, kind, addresses)}
    server_name sluice.invalid;
    client_header_timeout 15s;
${answer}
}
`;
}

/**
 * Returns an upstream whose idle connections nginx closes before the app does. Node.js closes them after 5 s, and a request
 * sent at that moment would fail. A deploy closes none of them: they move to the new workers. With affinity, nginx keeps no
 * connection, because it would send requests of other clients over it.
 */
function upstream(host: DesiredHost, facts: NginxFacts): string {
  const kept = hasAffinity(host) ? '' : '    keepalive 64;\n    keepalive_timeout 4s;\n';
  return `
upstream ${upstreamName(host)} {
    server ${serverAddress(host, facts)};
${kept}}
`;
}

/** Number of local addresses from which nginx connects to apps with affinity: the limit of workers. */
const clientGroups = 64;

/** Gives each client one of 64 addresses of the loopback network, from which nginx connects to its app. */
const localAddresses = `
# Apps with "affinity": "client" send all connections from one address to the same worker.
split_clients $remote_addr $sluice_client {
${Array.from({ length: clientGroups }, (_, group) => {
  const share = group === clientGroups - 1 ? '*' : `${(100 / clientGroups).toFixed(2)}%`;
  return `    ${share} 127.83.76.${group + 1};\n`;
}).join('')}}
`;

/** True if nginx must connect to the app from an address of the client. Only IPv4 has more than one loopback address. */
function hasAffinity(host: DesiredHost): boolean {
  return 'address' in host && host.affinity === 'client' && isIPv4(host.address);
}

function servers(host: DesiredHost, facts: NginxFacts): string {
  const file = facts.certificateOf(host);
  const { https } = facts.ports;
  const secureUrl = `https://${host.name}${https === 443 ? '' : `:${https}`}$request_uri`;
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
            return 301 ${secureUrl};
        }
        return 308 ${secureUrl};
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
        proxy_pass http://${upstreamName(host)};${hasAffinity(host) ? '\n        proxy_bind $sluice_client;' : ''}
        proxy_http_version 1.1;
        proxy_redirect off;
        # A request is sent once, even if it fails.
        proxy_next_upstream off;
        # Stream both ways, and copy no upload or slow download to this disk.
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

/** Headers that an app trusts, so nginx sets them, and passes on none of them from a client. */
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

/** Protocols and ciphers of browsers since 2014 (source: Mozilla's guidelines for TLS, "intermediate"). */
const tls = `    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305;
    ssl_prefer_server_ciphers off;
    ssl_session_cache shared:sluice:5m;
    ssl_session_timeout 1d;
    ssl_session_tickets off;`;

/** Refuses unknown names. nginx needs no certificate for this since 1.19.4; Ubuntu 22.04 has 1.18. */
function refuseHandshake(hosts: readonly DesiredHost[], facts: NginxFacts): string {
  if (gte(facts.version, '1.19.4')) return '    ssl_reject_handshake on;';
  const file = facts.certificateOf(hosts[0] as DesiredHost);
  return `    ssl_certificate     "${file}";\n    ssl_certificate_key "${file}";\n    return 444;`;
}

function listen(
  { version, ports, listening }: NginxFacts,
  kind: 'http' | 'https',
  addresses = listening[kind],
): string {
  const hasDirective = gte(version, '1.25.1');
  const options = ({ http2 }: ListenAddress) =>
    kind === 'http' ? '' : http2 && !hasDirective ? ' ssl http2' : ' ssl';
  const lines = addresses.map((each) => {
    const where = each.address === '0.0.0.0' ? '' : `${toUrlHost(each.address)}:`;
    return `    listen ${where}${ports[kind]}${options(each)};`;
  });
  if (kind === 'https' && hasDirective) lines.push('    http2 on;');
  return lines.join('\n');
}

function upstreamName(host: DesiredHost): string {
  return 'api' in host ? 'sluice_api' : `sluice_${host.address.replaceAll(/[^0-9a-f]/gi, '_')}_${host.port}`;
}

function serverAddress(host: DesiredHost, { apiSocket }: NginxFacts): string {
  return 'api' in host ? `unix:${apiSocket}` : `${toUrlHost(host.address)}:${host.port}`;
}
