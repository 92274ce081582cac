import { Resolver } from 'node:dns';
import * as v from 'valibot';
import { logLevels } from '../system/log/log-level.ts';
import { count, duration, schedule, size } from './field-types.ts';
import { parseSettings, readJsonSettings } from './settings-file.ts';

/** Accepts what Node.js accepts, such as `192.0.2.1`, `192.0.2.1:5353` and `[2001:db8::1]:5353`. */
function isDnsServer(address: string): boolean {
  try {
    new Resolver().setServers([address]);
    return true;
  } catch {
    return false;
  }
}

/** The appliance's own settings, in `$SLUICE_HOME/config.json`. All have defaults; the file need not exist. */
export const serverSettingsSchema = v.strictObject({
  $schema: v.optional(v.pipe(v.string(), v.description('For editors; ignored.'))),
  listen: v.optional(
    v.strictObject({
      host: v.optional(
        v.pipe(v.string(), v.ip('a numeric address'), v.description('Address of the API.')),
        '127.0.0.1',
      ),
      port: v.optional(count('Port of the API; 0 for any free one.', 0, 65535), 8700),
    }),
    {},
  ),
  apps: v.optional(
    v.strictObject({
      host: v.optional(
        v.pipe(
          v.string(),
          v.ip('a numeric address'),
          v.description('Address that apps listen on: `127.0.0.1`, or `::` to be reached from outside.'),
        ),
        '127.0.0.1',
      ),
      hostname: v.optional(
        v.pipe(
          v.string(),
          v.regex(/^[\w.:-]+$/, 'a host name, such as "example.com"'),
          v.description('Name of this machine in the URLs of apps that are shown, where it is not `host`.'),
        ),
      ),
      firstPort: v.optional(
        count('The first app gets this port, the next one the next free.', 1, 65535),
        9001,
      ),
    }),
    {},
  ),
  ssh: v.optional(
    v.strictObject({
      authorizedKeys: v.optional(
        v.pipe(
          v.string(),
          v.regex(/^~?\/[^\p{Cc}]+$/u, 'an absolute path, or one that begins with ~/'),
          v.description(
            'File in which sshd looks for the keys of the user that Sluice runs as. `sluice keys` writes into it, and leaves alone what others have written.',
          ),
        ),
        '~/.ssh/authorized_keys',
      ),
      user: v.optional(
        v.pipe(
          v.string(),
          v.regex(/^[a-z_][a-z0-9_-]{0,30}$/, 'the name of a user'),
          v.description(
            'A user of its own that pushes come in as: keys and socket then lie in `ssh` of the home, which its group may enter, and `ssh.authorizedKeys` is left alone. `install.sh` makes it, and sets this.',
          ),
        ),
      ),
    }),
    {},
  ),
  acme: v.optional(
    v.strictObject({
      directory: v.optional(
        v.pipe(
          v.string(),
          v.regex(/^https:\/\/[!-~]+$/, 'a URL that begins with https://'),
          v.check((url) => URL.canParse(url), 'a URL that begins with https://'),
          v.description('The ACME server that certificates of domains come from: the URL of its directory.'),
        ),
        'https://acme-v02.api.letsencrypt.org/directory',
      ),
      email: v.optional(
        v.pipe(
          v.string(),
          v.email('an address of mail'),
          v.description(
            'Where that server may write to, should it have something to say about your certificates.',
          ),
        ),
      ),
      caFile: v.optional(
        v.pipe(
          v.string(),
          v.regex(/^\/[^\p{Cc}]+$/u, 'an absolute path'),
          v.description(
            'A file of certificates (PEM) that the ACME server itself may be recognised by, for one of your own.',
          ),
        ),
      ),
      schedule: v.optional(schedule('When it is looked whether a certificate is due.'), '* * * * *'),
      retryDelay: v.optional(
        duration(
          'How long after a failed order the next is made. It doubles with each failure in a row, up to a day; a tenth of it holds where no order was made because the name does not lead here.',
        ),
        '10m',
      ),
      httpPort: v.optional(
        count('Port that the ACME server calls on, to see that a name leads here.', 1, 65535),
        80,
      ),
      dnsServer: v.optional(
        v.pipe(
          v.string(),
          v.check(isDnsServer, 'a numeric address, with a port if it is not 53: "192.0.2.1:5353"'),
          v.description(
            "Whom to ask where a name leads before an order is made, instead of the machine's resolver.",
          ),
        ),
      ),
    }),
    {},
  ),
  maxUploadBytes: v.optional(size('The largest upload, or push, as sent.'), '256M'),
  maxExtractedBytes: v.optional(size('The largest tree an upload may unpack to.'), '2G'),
  maxEntries: v.optional(
    count('The most files, directories and links in an upload.', 1, 10_000_000),
    200_000,
  ),
  uploadTimeout: v.optional(duration('How long an upload may stand still.'), '30s'),
  minFreeBytes: v.optional(size('Disk space that a deploy leaves alone.'), '256M'),
  buildConcurrency: v.optional(count('How many builds run at a time.', 1, 64), 1),
  buildMemory: v.optional(
    v.pipe(
      size(
        'Memory that one command of a build, or a hook, may take, above which the kernel kills it. Without it: what is available when it starts, less a reserve.',
      ),
      v.minValue(64 * 1024 ** 2, 'at least "64M"'),
    ),
  ),
  buildProcesses: v.optional(
    count('How many processes and threads one command of a build, or a hook, may have.', 32, 1_000_000),
    2048,
  ),
  maxDraining: v.optional(count('How many retired generations of one app may linger.', 1, 100), 3),
  logSize: v.optional(size("An app's log is rotated when it has grown so far."), '10M'),
  logSchedule: v.optional(
    schedule("When logs are rotated whatever their size, in the machine's time zone."),
    '0 0 * * *',
  ),
  keepLogs: v.optional(count('How many rotated logs of an app are kept.', 0, 10_000), 14),
  maxLogBytes: v.optional(
    size('Disk space for the logs of all apps together; the oldest rotated ones are removed.'),
    '1G',
  ),
  logLevel: v.optional(
    v.pipe(
      v.picklist(logLevels),
      v.description(
        "The least urgent lines that go to Sluice's own log, `sluice.log` or the journal; `debug` adds the requests that change nothing.",
      ),
    ),
    'info',
  ),
});

export type ServerSettings = v.InferOutput<typeof serverSettingsSchema>;

/** @throws AppError `invalid_settings` */
export async function loadServerSettings(path: string): Promise<ServerSettings> {
  return parseSettings(serverSettingsSchema, (await readJsonSettings(path, path)) ?? {}, path);
}
