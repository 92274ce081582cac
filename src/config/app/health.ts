import * as v from 'valibot';
import { duration } from '../units.ts';
import { requestHeaders, requestPath } from './request.ts';

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
