import * as v from 'valibot';
import { duration } from '../field-types.ts';

/** Target of an HTTP request (RFC 9112, 3.2). Characters outside this range must be percent-encoded. */
export const requestPath = v.pipe(
  v.string(),
  v.regex(
    /^\/[!-~]*$/,
    'a path that starts with "/", with spaces and other special characters percent-encoded',
  ),
);

/** Headers that say how a request is sent. If the settings set one, the app might wait for a body that never comes. */
const ofTransport = 'connection|content-length|expect|keep-alive|te|trailer|transfer-encoding|upgrade';

const headerName = v.pipe(
  v.string(),
  // A token (RFC 9110, 5.6.2).
  v.regex(
    new RegExp(`^(?!(?:${ofTransport})$)[!#$%&'*+.^_\`|~0-9A-Za-z-]+$`, 'i'),
    'a header name, but not one that says how a request is sent, such as "content-length"',
  ),
);

const headerValue = v.pipe(
  v.string(),
  v.regex(/^[\t -~\u0080-\u00ff]*$/, 'a header value without line ends and other control characters'),
);

/** Headers of a request, by name. */
export const requestHeaders = v.record(headerName, headerValue);

const statusRange = v.pipe(
  v.string(),
  v.regex(/^[1-5]\d\d(?:-[1-5]\d\d)?$/, 'a status or a range of them, such as "200" or "200-399"'),
);

export const health = v.strictObject({
  path: v.optional(
    v.pipe(
      requestPath,
      v.description('What is asked for, on the private port of every new worker, before it gets traffic.'),
    ),
    '/',
  ),
  headers: v.optional(v.pipe(requestHeaders, v.description('Headers to send, such as a `host`.')), {}),
  status: v.optional(
    v.pipe(
      v.union([
        v.pipe(v.number(), v.integer(), v.minValue(100), v.maxValue(599)),
        statusRange,
        v.array(statusRange),
      ]),
      v.description('Statuses that count as healthy: one, a range such as `200-399`, or a list of these.'),
      v.transform((value) => (Array.isArray(value) ? value : [String(value)])),
    ),
    '100-499',
  ),
  body: v.optional(v.pipe(v.string(), v.description('Text that the answer must contain.'))),
  interval: v.optional(duration('Pause between two attempts.'), 250),
  timeout: v.optional(duration('How long one attempt may take.'), '5s'),
});
