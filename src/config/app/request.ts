import * as v from 'valibot';

/** Characters that the target of an HTTP request may have (RFC 9112, 3.2): others are sent percent-encoded. */
export const requestPath = v.pipe(
  v.string(),
  v.regex(
    /^\/[!-~]*$/,
    'a path that starts with "/", without spaces, control characters and others that must be percent-encoded',
  ),
);

/** Headers that say how a request is sent: a value of the app's would leave the app waiting for a body. */
const ofTransport = 'connection|content-length|expect|keep-alive|te|trailer|transfer-encoding|upgrade';

const headerName = v.pipe(
  v.string(),
  // A token (RFC 9110, 5.6.2).
  v.regex(
    new RegExp(`^(?!(?:${ofTransport})$)[!#$%&'*+.^_\`|~0-9A-Za-z-]+$`, 'i'),
    'the name of a header, and not of one that says how a request is sent, such as "content-length"',
  ),
);

const headerValue = v.pipe(
  v.string(),
  v.regex(/^[\t -~\u0080-\u00ff]*$/, 'the value of a header, without line ends and other control characters'),
);

/** Headers of a request, by name. */
export const requestHeaders = v.record(headerName, headerValue);
