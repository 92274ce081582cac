import { isIP } from 'node:net';
import * as v from 'valibot';
import { count } from '../config/field-types.ts';
import { isHostName } from '../config/host-name.ts';

const common = {
  name: v.pipe(v.string(), v.check(isHostName, 'a host name')),
  /** SHA-256 of the host's file in `certificates`: a new certificate is a change */
  certificate: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/, 'a SHA-256 in hex')),
};

const hostSchema = v.union(
  [
    v.strictObject({
      ...common,
      /** address that the app listens on */
      address: v.pipe(
        v.string(),
        v.check((text) => isIP(text) !== 0 && !text.includes('%'), 'a numeric address'),
      ),
      port: count(1, 65535),
      /** present if each client of the app has a worker: see docs/internals/affinity.md */
      affinity: v.optional(v.literal('client')),
    }),
    /** the API: the reader of this document knows its socket */
    v.strictObject({ ...common, api: v.literal(true) }),
  ],
  'a name with the address of an app, or of the API',
);

/** Host name that nginx is to serve. */
export type DesiredHost = v.InferOutput<typeof hostSchema>;

/**
 * Schema of `wanted.json`, which the server writes and `sluice-edge.service` reads. The reader is root and the server is
 * not, so the reader trusts nothing in this document. The document names no file: it can only route names to ports.
 */
export const desiredSchema = v.strictObject({
  revision: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  hosts: v.pipe(
    v.array(hostSchema),
    v.maxLength(2000, 'at most 2000 hosts'),
    v.check(
      (hosts) => new Set(hosts.map(({ name }) => name)).size === hosts.length,
      'each host name only once',
    ),
  ),
});

export type Desired = v.InferOutput<typeof desiredSchema>;

/** Content of `applied.json`, the answer to `wanted.json`. */
export interface Applied {
  /** revision of the document that was read; 0 if it was unreadable */
  revision: number;
  at: string;
  /** null if nginx serves the desired hosts */
  error: { message: string; hint: string } | null;
}
