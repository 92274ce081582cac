import * as v from 'valibot';
import { duration, text } from '../field-types.ts';

/** Headers that control how a request is sent. An app might wait for a body that never arrives. */
const ofTransport = 'connection|content-length|expect|keep-alive|te|trailer|transfer-encoding|upgrade';

const headerName = v.pipe(
  v.string(),
  // A token (RFC 9110, 5.6.2).
  v.regex(
    new RegExp(`^(?!(?:${ofTransport})$)[!#$%&'*+.^_\`|~0-9A-Za-z-]+$`, 'i'),
    'a header name, but not one that controls how a request is sent, such as "content-length"',
  ),
);

const headerValue = v.pipe(
  v.string(),
  v.regex(/^[\t -~\u0080-\u00ff]*$/, 'a header value without line ends and other control characters'),
);

const statusRange = v.pipe(
  v.string(),
  v.regex(/^[1-5]\d\d(?:-[1-5]\d\d)?$/, 'a status or a range, such as "200" or "200-399"'),
);

export const health = v.strictObject({
  path: v.optional(
    // Target of an HTTP request (RFC 9112, 3.2).
    text(
      'Path of the health check. Sluice sends the check to the private port of each new worker before the worker gets traffic.',
      /^\/[!-~]*$/,
      'a path that starts with "/", with spaces and other special characters percent-encoded',
    ),
    '/',
  ),
  headers: v.optional(
    v.pipe(v.record(headerName, headerValue), v.description('Headers of the health check, such as `host`.')),
    {},
  ),
  status: v.optional(
    v.pipe(
      v.union([
        v.pipe(v.number(), v.integer(), v.minValue(100), v.maxValue(599)),
        statusRange,
        v.array(statusRange),
      ]),
      v.description('Statuses of a healthy worker: one, a range such as `200-399`, or a list.'),
      v.transform((value) => (Array.isArray(value) ? value : [String(value)])),
    ),
    '100-499',
  ),
  body: v.optional(v.pipe(v.string(), v.description('Text that the response must contain.'))),
  interval: v.optional(duration('Pause between two attempts.'), 250),
  timeout: v.optional(duration('Time limit of an attempt.'), '5s'),
});
