import { Resolver } from 'node:dns';
import * as v from 'valibot';
import { logLevels } from '../system/log/log.ts';
import { count, duration, schedule, size, text } from './field-types.ts';
import { parseSettings, readJsonSettings } from './settings-file.ts';

function address(description: string) {
  return v.pipe(v.string(), v.ip('a numeric address'), v.description(description));
}

/** Returns true for addresses in the syntax of Node.js, such as `192.0.2.1`, `192.0.2.1:5353` and `[2001:db8::1]:5353`. */
function isDnsServer(address: string): boolean {
  try {
    new Resolver().setServers([address]);
    return true;
  } catch {
    return false;
  }
}

const acme = v.strictObject({
  directory: v.optional(
    v.pipe(
      v.string(),
      v.regex(/^https:\/\/[!-~]+$/, 'a URL that begins with https://'),
      v.check((url) => URL.canParse(url), 'a URL that begins with https://'),
      v.description('URL of the directory of the ACME server that issues certificates for domains.'),
    ),
    'https://acme-v02.api.letsencrypt.org/directory',
  ),
  email: v.optional(
    v.pipe(
      v.string(),
      v.email('an email address'),
      v.description('Email address for messages of the ACME server about your certificates.'),
    ),
  ),
  caFile: v.optional(
    text(
      'File of certificates (PEM) that verify the ACME server, for an ACME server of your own.',
      /^\/[^\p{Cc}]+$/u,
      'an absolute path',
    ),
  ),
  schedule: v.optional(schedule('Times to check for certificates that are due.'), '* * * * *'),
  retryDelay: v.optional(
    duration(
      'Pause after a failed order. The pause doubles with each failure in a row, up to a day. If Sluice made no order because the name does not resolve to this server, the pause is a tenth, up to an hour.',
    ),
    '10m',
  ),
  httpPort: v.optional(
    count('Port on which the ACME server checks that a name resolves to this server.', 1, 65535),
    80,
  ),
  dnsServer: v.optional(
    v.pipe(
      v.string(),
      v.check(isDnsServer, 'a numeric address, with a port if it is not 53: "192.0.2.1:5353"'),
      v.description('DNS server to check names with before an order. Default: resolver of the machine.'),
    ),
  ),
});

/** Settings of the server, in `$SLUICE_HOME/config.json`. All have defaults, and the file may be missing. */
export const serverSettingsSchema = v.strictObject({
  $schema: v.optional(v.pipe(v.string(), v.description('JSON schema for editors. Sluice ignores it.'))),
  listen: v.optional(
    v.strictObject({
      host: v.optional(address('Address of the API.'), '127.0.0.1'),
      port: v.optional(count('Port of the API; 0 for any free port.', 0, 65535), 8700),
    }),
    {},
  ),
  apps: v.optional(
    v.strictObject({
      host: v.optional(
        address('Address on which apps listen: `127.0.0.1`, or `::` for access from other machines.'),
        '127.0.0.1',
      ),
      hostname: v.optional(
        text(
          'Name of this machine in the URLs of apps. Default: `apps.host`, or `localhost` if `apps.host` is `::` or `0.0.0.0`.',
          /^[\w.:-]+$/,
          'a host name, such as "example.com"',
        ),
      ),
      firstPort: v.optional(
        count('Port of the first app. Each further app gets the next free port.', 1, 65535),
        9001,
      ),
    }),
    {},
  ),
  ssh: v.optional(
    v.strictObject({
      authorizedKeys: v.optional(
        text(
          'File in which sshd looks for the keys of the user that runs Sluice. `sluice keys` changes only the lines that it has added.',
          /^~?\/[^\p{Cc}]+$/u,
          'an absolute path, or one that begins with ~/',
        ),
        '~/.ssh/authorized_keys',
      ),
      user: v.optional(
        text(
          'Separate user for pushes over ssh. The keys and the socket of this user are in `ssh` of the home, which the group of the user may enter. Sluice then ignores `ssh.authorizedKeys`. `install.sh` creates the user and sets `ssh.user`.',
          /^[a-z_][a-z0-9_-]{0,30}$/,
          'the name of a user',
        ),
      ),
    }),
    {},
  ),
  acme: v.optional(acme, {}),
  maxUploadBytes: v.optional(size('Largest upload or push, as sent.'), '256M'),
  maxExtractedBytes: v.optional(size('Largest size of an unpacked upload.'), '2G'),
  maxEntries: v.optional(
    count('Largest number of files, directories and links in an upload.', 1, 10_000_000),
    200_000,
  ),
  uploadTimeout: v.optional(duration('Longest pause of an upload.'), '30s'),
  minFreeBytes: v.optional(size('Disk space that a deploy must leave free.'), '256M'),
  buildConcurrency: v.optional(count('Number of builds at a time.', 1, 64), 1),
  buildMemory: v.optional(
    v.pipe(
      size(
        'Memory limit of one command of a build or a hook. Above the limit, the kernel kills the command. Default: memory that is available when the command starts, less a reserve.',
      ),
      v.minValue(64 * 1024 ** 2, 'at least "64M"'),
    ),
  ),
  buildProcesses: v.optional(
    count('Number of processes and threads of one command of a build or a hook.', 32, 1_000_000),
    2048,
  ),
  maxDraining: v.optional(
    count(
      'Largest number of draining generations of one app. If more generations drain, Sluice ends the oldest.',
      1,
      100,
    ),
    3,
  ),
  logSize: v.optional(size('Size at which Sluice rotates the log of an app.'), '10M'),
  logSchedule: v.optional(
    schedule('Times to rotate all logs, in the time zone of the machine.'),
    '0 0 * * *',
  ),
  keepLogs: v.optional(count('Number of rotated logs of an app to keep.', 0, 10_000), 14),
  maxLogBytes: v.optional(
    size('Disk space for the logs of all apps together. Sluice removes the oldest rotated logs.'),
    '1G',
  ),
  logLevel: v.optional(
    v.pipe(
      v.picklist(logLevels),
      v.description(
        "Lowest level of lines in Sluice's own log, which is `sluice.log` or the journal. `debug` adds requests that change nothing.",
      ),
    ),
    'info',
  ),
});

export type ServerSettings = v.InferOutput<typeof serverSettingsSchema>;

/** Returns the settings in a file; the defaults if it does not exist. @throws AppError `invalid_settings` */
export async function loadServerSettings(path: string): Promise<ServerSettings> {
  return parseSettings(serverSettingsSchema, (await readJsonSettings(path, path)) ?? {}, path);
}
