import { rm } from 'node:fs/promises';
import * as v from 'valibot';
import { ownLog } from '../config/installed.ts';
import type { EdgePaths } from '../config/paths.ts';
import type { ServerSettings } from '../config/server-settings.ts';
import { parseSettings } from '../config/settings-file.ts';
import { AppError } from '../errors/app-error.ts';
import { Slots } from '../system/concurrency/slots.ts';
import { exists } from '../system/fs/exists.ts';
import { readJson, writeJsonAtomic } from '../system/fs/files.ts';
import type { Log } from '../system/log/log.ts';
import type { Certificates } from './certificates.ts';
import { runChild } from './child.ts';
import type { OrderLine, OrderTask } from './order.ts';
import { noOrders, type OrderRecord, orderRecordSchema, retryAfter } from './order-record.ts';
import { assertReachable } from './reachability.ts';

interface OrdersOptions {
  paths: EdgePaths;
  settings: ServerSettings['acme'];
  certificates: Certificates;
  log: Log;
  /** between 0 and 1 */
  random?: () => number;
}

/** The longest that an order may take, in ms; one that is cut off is gone on with by the next try. */
const longest = 300_000;

/**
 * Orders certificates, one at a time. How it went is on the disk before an order is made, so that a server that is started
 * again and again does not order again and again; and an order that is open is gone on with, never doubled.
 */
export class Orders {
  readonly #options: OrdersOptions;
  readonly #random: () => number;
  readonly #turns = new Slots(1);
  readonly #under = new Map<string, string>();
  readonly #unfinished = new Set<string>();
  readonly #stopping = new AbortController();
  #records: Record<string, OrderRecord> = {};

  constructor(options: OrdersOptions) {
    this.#options = options;
    this.#random = options.random ?? Math.random;
  }

  /** @param names of domains that get certificates here: those with an order that was cut off come first */
  async load(names: readonly string[]): Promise<void> {
    const { paths } = this.#options;
    const schema = v.record(v.string(), orderRecordSchema);
    this.#records = parseSettings(schema, (await readJson(paths.orders)) ?? {}, paths.orders);
    for (const name of names) if (await exists(paths.openOrder(name))) this.#unfinished.add(name);
  }

  record(name: string): OrderRecord {
    return this.#records[name] ?? noOrders;
  }

  /** What is being done for a name, for people; undefined where nothing is. */
  progress(name: string): string | undefined {
    return this.#under.get(name);
  }

  /** Whether its certificate is due, and may be ordered now. */
  isDue(name: string): boolean {
    if (this.#under.has(name)) return false;
    const now = Date.now();
    const known = this.#options.certificates.known(name);
    const isNeeded = known === undefined || known.selfSigned || Date.parse(known.renewAt) <= now;
    if (!isNeeded) return false;
    const { nextTry } = this.record(name);
    return nextTry === null || Date.parse(nextTry) <= now || this.#unfinished.has(name);
  }

  /** Lets one that failed because the name did not lead here be tried at once: nobody over there has counted that. */
  async retryNow(name: string): Promise<void> {
    const record = this.record(name);
    if (record.nextTry !== null && record.last?.code !== 'order_failed')
      await this.#save(name, { ...record, nextTry: null });
  }

  /**
   * Gets a certificate, when all others before it have theirs. Where that fails, it is on record.
   * @param use has it taken into use; what is being done is over after that
   */
  async order(name: string, use: () => Promise<void>): Promise<void> {
    if (this.#under.has(name)) return;
    this.#under.set(name, 'waiting for its turn');
    this.#unfinished.delete(name);
    try {
      if (!(await this.#turns.run(() => this.#order(name)))) return;
      this.#under.set(name, 'nginx takes the certificate');
      await use();
    } finally {
      this.#under.delete(name);
    }
  }

  /** Cuts off what is under way, which is gone on with at the next start. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#turns.run(async () => undefined);
  }

  async #order(name: string): Promise<boolean> {
    const { paths, certificates, log } = this.#options;
    const signal = this.#stopping.signal;
    if (signal.aborted) return false;
    const before = this.record(name);
    const failures = before.failures + 1;
    await this.#save(name, { ...before, failures, nextTry: this.#next(failures, 'order_failed') });
    try {
      this.#under.set(name, 'looking whether the name leads here');
      await assertReachable(name, { ...this.#options.settings, challenges: paths.challenges });
      const pem = await this.#ask(name);
      const { expiresAt, issuer } = await certificates.write(name, pem);
      await rm(paths.openOrder(name), { force: true });
      await this.#save(name, noOrders);
      log.info('certificate issued', { domain: name, issuer, expiresAt });
      return true;
    } catch (error) {
      if (signal.aborted) return false;
      await this.#failed(name, failures, error);
      return false;
    }
  }

  async #failed(name: string, failures: number, error: unknown): Promise<void> {
    const { log } = this.#options;
    const told = error instanceof AppError ? error : unexpected(error);
    const code = told.code === 'domain_unreachable' ? told.code : 'order_failed';
    const nextTry = this.#next(failures, code, (error as { retryAfter?: number }).retryAfter);
    const last = { at: new Date().toISOString(), code, message: told.message, hint: told.hint } as const;
    await this.#save(name, { failures, nextTry, last });
    // A certificate that goes on being valid is no reason to wake anybody.
    const why = error instanceof AppError ? { code, message: told.message } : { error };
    log.warn('certificate not issued', { domain: name, failures, nextTry, ...why });
  }

  /** The PEM of key and chain. @throws AppError `order_failed` */
  async #ask(name: string): Promise<string> {
    const { paths, settings, log } = this.#options;
    let last: OrderLine | undefined;
    const task: OrderTask = {
      ...{ name, directory: settings.directory, email: settings.email ?? null },
      ...{ account: paths.account, openOrder: paths.openOrder(name), challenges: paths.challenges },
      lock: paths.orderLock,
    };
    await runChild('order.ts', task, {
      signal: AbortSignal.any([this.#stopping.signal, AbortSignal.timeout(longest)]),
      env: settings.caFile === undefined ? {} : { NODE_EXTRA_CA_CERTS: settings.caFile },
      onLine: (text) => {
        last = JSON.parse(text) as OrderLine;
        if (last.say === 'progress') this.#under.set(name, last.text);
        if (last.say === 'order') log.info('order', { domain: name, url: last.url, isNew: last.isNew });
      },
    });
    if (last?.say === 'issued') return last.pem;
    throw refused(last);
  }

  #next(failures: number, code: string, seconds = 0): string {
    const { retryDelay } = this.#options.settings;
    const delay = retryAfter(failures, code, { retryDelay, atLeast: seconds * 1000, random: this.#random() });
    return new Date(Date.now() + delay).toISOString();
  }

  async #save(name: string, record: OrderRecord): Promise<void> {
    this.#records = { ...this.#records, [name]: record };
    await writeJsonAtomic(this.#options.paths.orders, this.#records);
  }
}

function unexpected(error: unknown): AppError {
  return new AppError('order_failed', `the order failed: ${(error as Error).message}`, {
    hint: `${ownLog()} has the details.`,
    cause: error,
  });
}

/** Why there is no certificate, in the words of whoever refused it, and what its owner can do about it. */
function refused(line: OrderLine | undefined): AppError {
  if (line?.say !== 'failed') return new AppError('order_failed', 'the order ended without a word');
  const kind = line.type?.split(':').at(-1) ?? '';
  const error = new AppError('order_failed', line.message, { hint: hints[kind] ?? '' });
  return Object.assign(error, { retryAfter: line.retryAfter ?? 0 });
}

const hints: Record<string, string> = {
  rateLimited:
    'The authority gives no more for a while; it is tried again by itself, when it says that it will.',
  caa: 'A CAA record in DNS names who may issue certificates for this name: add the authority to it.',
  rejectedIdentifier:
    'The authority does not issue certificates for such a name. `--self-signed` makes one for trials.',
  invalidContact: 'Put an address that there is into "acme.email" in config.json, or take it out.',
};
