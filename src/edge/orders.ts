import { rm } from 'node:fs/promises';
import * as v from 'valibot';
import { ownLog } from '../config/installed.ts';
import type { EdgePaths } from '../config/paths.ts';
import type { ServerSettings } from '../config/server-settings.ts';
import { parseSettings } from '../config/settings-file.ts';
import { AppError } from '../errors/app-error.ts';
import { backoffDelay } from '../system/concurrency/retry.ts';
import { Lock } from '../system/concurrency/slots.ts';
import { exists } from '../system/fs/exists.ts';
import { readJson, writeJsonAtomic } from '../system/fs/files.ts';
import type { Log } from '../system/log/log.ts';
import type { Certificates } from './certificates.ts';
import { runChild } from './child.ts';
import type { EdgeOptions } from './desired-hosts.ts';
import type { OrderLine, OrderTask } from './order.ts';
import { assertReachable } from './reachability.ts';

/** Schema of a host name's record in `orders.json`. */
const recordSchema = v.strictObject({
  /** consecutive failures */
  failures: v.pipe(v.number(), v.integer(), v.minValue(0)),
  /** earliest time of the next order */
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

export type OrderRecord = v.InferOutput<typeof recordSchema>;

const noOrders: OrderRecord = { failures: 0, nextTry: null, last: null };

/** Limit of one order, in ms; the next try continues an order that was cut off. */
const orderTimeout = 300_000;
const day = 86_400_000;

/**
 * Orders certificates, one at a time. The record of a failure is on the disk before an order begins, so a server that
 * restarts again and again does not order again and again. An open order is continued, never doubled.
 */
export class Orders {
  readonly #paths: EdgePaths;
  readonly #settings: ServerSettings['acme'];
  readonly #log: Log;
  readonly #certificates: Certificates;
  readonly #turns = new Lock();
  /** current step of each host name, for people */
  readonly #progress = new Map<string, string>();
  readonly #stopping = new AbortController();
  #records: Record<string, OrderRecord> = {};

  constructor({ paths, settings, log }: EdgeOptions, certificates: Certificates) {
    this.#paths = paths.edge;
    this.#settings = settings.acme;
    this.#log = log;
    this.#certificates = certificates;
  }

  /** @param names host names of domains; those with an order that was cut off are due at once */
  async load(names: readonly string[]): Promise<void> {
    const schema = v.record(v.string(), recordSchema);
    this.#records = parseSettings(schema, (await readJson(this.#paths.orders)) ?? {}, this.#paths.orders);
    for (const name of names)
      if (await exists(this.#paths.openOrder(name)))
        this.#records[name] = { ...this.record(name), nextTry: null };
  }

  record(name: string): OrderRecord {
    return this.#records[name] ?? noOrders;
  }

  /** Returns the current step of an order, for people; undefined if there is none. */
  progress(name: string): string | undefined {
    return this.#progress.get(name);
  }

  /** Returns true if a certificate is due, and may be ordered now. */
  isDue(name: string): boolean {
    return this.dueAt(name) <= Date.now();
  }

  /** Returns the time from which a certificate is due and may be ordered, in ms since 1970. */
  dueAt(name: string): number {
    const known = this.#certificates.known(name);
    const neededAt = known === undefined || known.selfSigned ? 0 : Date.parse(known.renewAt);
    const { nextTry } = this.record(name);
    return Math.max(neededAt, nextTry === null ? 0 : Date.parse(nextTry));
  }

  /** Allows the next order at once if the last one failed before it reached the ACME server, which counts failures. */
  async retryNow(name: string): Promise<void> {
    const record = this.record(name);
    if (record.nextTry !== null && record.last?.code !== 'order_failed')
      await this.#save(name, { ...record, nextTry: null });
  }

  /** Orders a certificate after all earlier orders, and records a failure. @param use takes the certificate into use */
  async order(name: string, use: () => Promise<void>): Promise<void> {
    if (this.#progress.has(name)) return;
    this.#progress.set(name, 'waiting for other orders');
    try {
      if (!(await this.#turns.run(() => this.#order(name)))) return;
      this.#progress.set(name, 'nginx takes the certificate');
      await use();
    } finally {
      this.#progress.delete(name);
    }
  }

  /** Cuts off the current order, which the next start continues. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#turns.run(async () => undefined);
  }

  async #order(name: string): Promise<boolean> {
    const { signal } = this.#stopping;
    if (signal.aborted) return false;
    const before = this.record(name);
    const failures = before.failures + 1;
    await this.#save(name, { ...before, failures, nextTry: this.#nextTry(failures, 'order_failed') });
    try {
      this.#progress.set(name, 'checking that the name resolves to this server');
      await assertReachable(name, { ...this.#settings, challenges: this.#paths.challenges });
      const { expiresAt, issuer } = await this.#certificates.write(name, await this.#run(name));
      await rm(this.#paths.openOrder(name), { force: true });
      await this.#save(name, noOrders);
      this.#log.info('certificate issued', { domain: name, issuer, expiresAt });
      return true;
    } catch (error) {
      if (!signal.aborted) await this.#saveFailure(name, failures, error);
      return false;
    }
  }

  async #saveFailure(name: string, failures: number, error: unknown): Promise<void> {
    const isKnown = error instanceof AppError;
    const { code: own, message, hint } = isKnown ? error : unexpected(error);
    const code = own === 'domain_unreachable' ? own : 'order_failed';
    const nextTry = this.#nextTry(failures, code, (error as { retryAfter?: number }).retryAfter);
    await this.#save(name, {
      ...{ failures, nextTry },
      last: { at: new Date().toISOString(), code, message, hint },
    });
    // A warning, not an error: a certificate that is still valid is no emergency.
    const why = isKnown ? { code, message } : { error };
    this.#log.warn('certificate not issued', { domain: name, failures, nextTry, ...why });
  }

  /** Runs `order.ts`. @returns PEM of the key and the chain. @throws AppError `order_failed` */
  async #run(name: string): Promise<string> {
    const { directory, email = null, caFile } = this.#settings;
    const task: OrderTask = { name, directory, email, edge: this.#paths.directory };
    const last = await runChild<OrderLine>('order.ts', task, {
      signal: AbortSignal.any([this.#stopping.signal, AbortSignal.timeout(orderTimeout)]),
      env: caFile === undefined ? {} : { NODE_EXTRA_CA_CERTS: caFile },
      onLine: (line) => {
        if (line.event === 'progress') this.#progress.set(name, line.text);
        if (line.event === 'order')
          this.#log.info('order', { domain: name, url: line.url, isNew: line.isNew });
      },
    });
    if (last?.event === 'issued') return last.pem;
    throw refusal(last);
  }

  /** @param seconds least delay that the ACME server asks for */
  #nextTry(failures: number, code: string, seconds = 0): string {
    const { retryDelay } = this.#settings;
    const delay = retryAfter(failures, code, { retryDelay, atLeast: seconds * 1000 });
    return new Date(Date.now() + delay).toISOString();
  }

  async #save(name: string, record: OrderRecord): Promise<void> {
    this.#records = { ...this.#records, [name]: record };
    await writeJsonAtomic(this.#paths.orders, this.#records);
  }
}

/**
 * Returns the delay after the last of `failures` consecutive failures, in ms. It doubles with each failure. A random part of
 * up to a quarter spreads the names of one server. A tenth of it is enough after `domain_unreachable`, since the ACME server
 * did not count that failure.
 * @param options.retryDelay ms after the first failure
 * @param options.atLeast least delay, in ms
 */
export function retryAfter(
  failures: number,
  code: string,
  options: { retryDelay: number; atLeast?: number; random?: number },
): number {
  const { retryDelay, atLeast = 0, random = Math.random() } = options;
  const [initial, ceiling] = code === 'domain_unreachable' ? [retryDelay / 10, day / 24] : [retryDelay, day];
  const delay = backoffDelay(failures, { initial, factor: 2, ceiling });
  return Math.max(delay * (1 + random / 4), atLeast);
}

function unexpected(error: unknown): AppError {
  return new AppError('order_failed', `the order failed: ${(error as Error).message}`, {
    hint: `See ${ownLog()} for details.`,
    cause: error,
  });
}

/** Returns the refusal in the words of the ACME server, with a hint for the owner of the domain. */
function refusal(line: OrderLine | undefined): AppError {
  if (line?.event !== 'failed') return new AppError('order_failed', 'the order ended without a result');
  const kind = line.type?.split(':').at(-1) ?? '';
  const error = new AppError('order_failed', line.message, { hint: hints[kind] ?? '' });
  return Object.assign(error, { retryAfter: line.retryAfter ?? 0 });
}

const hints: Record<string, string> = {
  rateLimited:
    'The authority issues no more certificates for a while. Sluice tries again at the time that the authority sets.',
  caa: 'A CAA record in DNS names who may issue certificates for this name: add the authority to it.',
  rejectedIdentifier:
    'The authority does not issue certificates for this name. `--self-signed` creates one for trials.',
  invalidContact: 'Set "acme.email" in config.json to an existing address, or remove it.',
};
