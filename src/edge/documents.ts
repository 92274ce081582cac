import { isIP } from 'node:net';
import * as v from 'valibot';
import { count } from '../config/field-types.ts';
import { isHostName } from './host-name.ts';

const named = {
  name: v.pipe(v.string(), v.check(isHostName, 'a host name')),
  /** SHA-256 of its file in `certificates`: another certificate is another wish */
  certificate: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/, 'a SHA-256 in hex')),
};

const hostSchema = v.union(
  [
    v.strictObject({
      ...named,
      /** where the app listens */
      address: v.pipe(
        v.string(),
        v.check((text) => isIP(text) !== 0 && !text.includes('%'), 'a numeric address'),
      ),
      port: count('', 1, 65535),
    }),
    /** the API: the reader of this document knows where the API listens */
    v.strictObject({ ...named, api: v.literal(true) }),
  ],
  'a name with the address of an app, or of the API',
);

/** A host name that nginx is to answer for. */
export type WantedHost = v.InferOutput<typeof hostSchema>;

const revision = v.pipe(v.number(), v.safeInteger(), v.minValue(1));

/**
 * What the server wants of nginx, as `sluice-edge.service` reads it. That one is root and the server is not, so
 * nothing in here is believed: it names no file, and can say no more than which names lead to which ports.
 */
export const wantedSchema = v.strictObject({
  revision,
  hosts: v.pipe(
    v.array(hostSchema),
    v.maxLength(2000, 'at most 2000 hosts'),
    v.check(
      (hosts) => new Set(hosts.map(({ name }) => name)).size === hosts.length,
      'each host name only once',
    ),
  ),
});

export type Wanted = v.InferOutput<typeof wantedSchema>;

/** What came of it. */
export const appliedSchema = v.strictObject({
  /** of what was read; 0 where nothing could be made of it */
  revision: v.number(),
  at: v.string(),
  /** null where nginx does what was wanted */
  error: v.nullable(v.strictObject({ message: v.string(), hint: v.string() })),
});

export type Applied = v.InferOutput<typeof appliedSchema>;
