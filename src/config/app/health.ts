import * as v from 'valibot';
import { count, duration, optionalGroup, record, setting, shellCommand, text } from '../field-types.ts';

/** Headers that control how a request is sent. An app might wait for a body that never arrives. */
const ofTransport = 'connection|content-length|expect|keep-alive|te|trailer|transfer-encoding|upgrade';

// A token (RFC 9110, 5.6.2).
const headerName = text(
  new RegExp(`^(?!(?:${ofTransport})$)[!#$%&'*+.^_\`|~0-9A-Za-z-]+$`, 'i'),
  'a header name, but not one that controls how a request is sent, such as "content-length"',
);

const headerValue = text(
  /^[\t -~\u0080-\u00ff]*$/,
  'a header value without line ends and other control characters',
);

const statusRange = text(/^[1-5]\d\d(?:-[1-5]\d\d)?$/, 'a status or a range, such as "200" or "200-399"');

// Target of an HTTP request (RFC 9112, 3.2).
const target = text(
  /^\/[!-~]*$/,
  'a path that starts with "/", with spaces and other special characters percent-encoded',
);

export const health = optionalGroup({
  command: setting(
    "Shell command that checks the health of a new release, in the release and with the app's variables. It runs again and again, until its exit status is 0 or `bootTimeout` has passed. For an app with workers, it runs after the health check of each worker, and its `PORT` is the private port of the first new worker.",
    shellCommand,
  ),
  path: setting(
    'Path of the health check. Sluice sends the check to the private port of each new worker before the worker gets traffic.',
    target,
    '/',
  ),
  headers: setting('Headers of the health check, such as `host`.', record(headerName, headerValue), {}),
  status: setting(
    'Statuses of a healthy worker: one, a range such as `200-399`, or a list.',
    v.pipe(
      v.union([count(100, 599), statusRange, v.array(statusRange)]),
      v.transform((value) => (Array.isArray(value) ? value : [String(value)])),
    ),
    '100-499',
  ),
  body: setting('Text that the response must contain.', v.string()),
  interval: setting('Pause between two attempts of the check, or of the command.', duration, 250),
  timeout: setting('Time limit of an attempt.', duration, '5s'),
});

export const warmup = optionalGroup({
  paths: setting(
    'Paths that Sluice requests (GET) from each new worker after the health check, so that the first visitors do not wait for the compiler. The default is `health.path`.',
    v.pipe(v.array(target), v.maxLength(20)),
  ),
  count: setting(
    'Number of times that Sluice requests each path, one after another, for up to 1 s; 0 to request nothing.',
    count(0, 100),
    10,
  ),
});
