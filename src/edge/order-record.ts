import * as v from 'valibot';
import { backoffDelay } from '../system/concurrency/retry.ts';

/** How the orders of one host name went, as it stands in `orders.json`. */
export const orderRecordSchema = v.strictObject({
  /** failures in a row */
  failures: v.pipe(v.number(), v.integer(), v.minValue(0)),
  /** no order before */
  nextTry: v.nullable(v.string()),
  last: v.nullable(
    v.strictObject({
      at: v.string(),
      code: v.picklist(['domain_unreachable', 'order_failed']),
      message: v.string(),
      hint: v.string(),
    }),
  ),
});

export type OrderRecord = v.InferOutput<typeof orderRecordSchema>;

export const noOrders: OrderRecord = { failures: 0, nextTry: null, last: null };

interface BackoffOptions {
  /** ms after the first failure */
  retryDelay: number;
  /** what the ACME server asks for, in ms; 0 where it does not */
  atLeast?: number;
  /** from 0 to 1 */
  random: number;
}

const day = 86_400_000;

/**
 * When the next order may be made after the last of `failures` in a row, in ms from then: twice as late with each, and
 * up to a quarter later by chance, so that the names of one server do not all come at once. Where no order was made,
 * since the name does not lead here, a tenth of it: nobody but us has counted that.
 */
export function retryAfter(
  failures: number,
  code: string,
  { retryDelay, atLeast = 0, random }: BackoffOptions,
): number {
  const delay =
    code === 'domain_unreachable'
      ? backoffDelay(failures, { initial: retryDelay / 10, factor: 2, ceiling: day / 24 })
      : backoffDelay(failures, { initial: retryDelay, factor: 2, ceiling: day });
  return Math.max(delay * (1 + random / 4), atLeast);
}
