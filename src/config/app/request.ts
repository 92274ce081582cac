import * as v from 'valibot';

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
