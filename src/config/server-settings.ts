import { Resolver } from 'node:dns';
import * as v from 'valibot';
import { logLevels } from '../system/log/log.ts';
import {
  count,
  duration,
  group,
  isAcceptedBy,
  memory,
  optionalGroup,
  schedule,
  schemaForEditors,
  setting,
  size,
  text,
} from './field-types.ts';
import { parseSettings, readJsonSettings } from './settings-file.ts';

const address = v.pipe(v.string(), v.ip('a numeric address'));
const port = count(1, 65535);

/** Accepts addresses in the syntax of Node.js, such as `192.0.2.1`, `192.0.2.1:5353` and `[2001:db8::1]:5353`. */
const isDnsServer = isAcceptedBy((address) => new Resolver().setServers([address]));

const acme = optionalGroup({
  directory: setting(
    'URL of the directory of the ACME server that issues certificates for domains.',
    v.pipe(
      text(/^https:\/\/[!-~]+$/, 'a URL that begins with https://'),
      v.check((url) => URL.canParse(url), 'a URL that begins with https://'),
    ),
    'https://acme-v02.api.letsencrypt.org/directory',
  ),
  email: setting(
    'Email address for messages of the ACME server about your certificates.',
    v.pipe(v.string(), v.email('an email address')),
  ),
  caFile: setting(
    'File of certificates (PEM) that verify the ACME server, for an ACME server of your own.',
    text(/^\/[^\p{Cc}]+$/u, 'an absolute path'),
  ),
  schedule: v.optional(schedule('Times to check for certificates that are due.'), '* * * * *'),
  retryDelay: setting(
    'Pause after a failed order. The pause doubles with each failure in a row, up to a day. If Sluice made no order because the name does not resolve to this server, the pause is a tenth, up to an hour.',
    duration,
    '10m',
  ),
  httpPort: setting('Port on which the ACME server checks that a name resolves to this server.', port, 80),
  dnsServer: setting(
    'DNS server to check names with before an order. Default: resolver of the machine.',
    v.pipe(
      v.string(),
      v.check(isDnsServer, 'a numeric address, with a port if it is not 53: "192.0.2.1:5353"'),
    ),
  ),
});

/** Settings of the server, in `$SLUICE_HOME/config.json`. All have defaults, and the file may be missing. */
export const serverSettingsSchema = group({
  $schema: schemaForEditors,
  listen: optionalGroup({
    host: setting('Address of the API.', address, '127.0.0.1'),
    port: setting('Port of the API; 0 for any free port.', count(0, 65535), 8700),
  }),
  apps: optionalGroup({
    host: setting(
      'Address on which apps listen: `127.0.0.1`, or `::` for access from other machines.',
      address,
      '127.0.0.1',
    ),
    hostname: setting(
      'Name of this machine in the URLs of apps. Default: `apps.host`, or `localhost` if `apps.host` is `::` or `0.0.0.0`.',
      text(/^[\w.:-]+$/, 'a host name, such as "example.com"'),
    ),
    firstPort: setting(
      'Port of the first app. Each further app gets the next port that no app has had. Ports of removed apps come last.',
      port,
      9001,
    ),
  }),
  ssh: optionalGroup({
    authorizedKeys: setting(
      'File in which sshd looks for the keys of the user that runs Sluice. `sluice keys` changes only the lines that it has added.',
      text(/^~?\/[^\p{Cc}]+$/u, 'an absolute path, or one that begins with ~/'),
      '~/.ssh/authorized_keys',
    ),
    user: setting(
      'Separate user for pushes over ssh. The keys and the socket of this user are in `ssh` of the home, which the group of the user may enter. Sluice then ignores `ssh.authorizedKeys`. `install.sh` creates the user and sets `ssh.user`.',
      text(/^[a-z_][a-z0-9_-]{0,30}$/, 'the name of a user'),
    ),
  }),
  acme,
  maxUploadBytes: setting('Largest upload or push, as sent.', size, '256M'),
  maxExtractedBytes: setting('Largest size of an unpacked upload.', size, '2G'),
  maxEntries: setting(
    'Largest number of files, directories and links in an upload.',
    count(1, 10_000_000),
    200_000,
  ),
  uploadTimeout: setting('Longest pause of an upload.', duration, '30s'),
  minFreeBytes: setting('Disk space that a deploy must leave free.', size, '256M'),
  buildConcurrency: setting('Number of builds at a time.', count(1, 64), 1),
  buildMemory: setting(
    'Memory limit of one command of a build or a hook. Above the limit, the kernel kills the command. Default: memory that is available when the command starts, less a reserve.',
    memory(64),
  ),
  buildProcesses: setting(
    'Number of processes and threads of one command of a build or a hook.',
    count(32, 1_000_000),
    2048,
  ),
  maxDraining: setting(
    'Largest number of draining generations of one app. If more generations drain, Sluice ends the oldest.',
    count(1, 100),
    3,
  ),
  logSize: setting('Size at which Sluice rotates the log of an app.', size, '10M'),
  logSchedule: v.optional(
    schedule('Times to rotate all logs, in the time zone of the machine.'),
    '0 0 * * *',
  ),
  keepLogs: setting('Number of rotated logs of an app to keep.', count(0, 10_000), 14),
  maxLogBytes: setting(
    'Disk space for the logs of all apps together. Sluice removes the oldest rotated logs.',
    size,
    '1G',
  ),
  logLevel: setting(
    "Lowest level of lines in Sluice's own log, which is `sluice.log` or the journal. `debug` adds requests that change nothing.",
    v.picklist(logLevels),
    'info',
  ),
});

export type ServerSettings = v.InferOutput<typeof serverSettingsSchema>;

/** Returns the settings in a file; the defaults if it does not exist. @throws AppError `invalid_settings` */
export async function loadServerSettings(path: string): Promise<ServerSettings> {
  return parseSettings(serverSettingsSchema, (await readJsonSettings(path, path)) ?? {}, path);
}
