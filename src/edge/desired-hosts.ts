import { chmod, mkdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import * as v from 'valibot';
import { loadEnvironmentState } from '../config/environment-state.ts';
import type { EnvironmentId, Paths } from '../config/paths.ts';
import type { ServerSettings } from '../config/server-settings.ts';
import { AppError, errorBody } from '../errors/app-error.ts';
import { Lock } from '../system/concurrency/slots.ts';
import { readJson, writeJsonAtomic } from '../system/fs/files.ts';
import type { Log } from '../system/log/log.ts';
import { isWildcard } from '../system/net/address.ts';
import type { Certificates } from './certificates.ts';
import { type Applied, type Desired, type DesiredHost, desiredSchema } from './desired.ts';
import type { Domain } from './domain.ts';

/** Failure of the last apply; null if it succeeded. */
export type EdgeFault = { code: string; message: string; hint: string } | null;

/** Time after a failure after which a new apply is worthwhile, in ms. */
const retryApplyAfter = 600_000;

/**
 * Times in ms. `applied`: limit for nginx's test of a large configuration and a reload. `again`: time after which
 * `wanted.json` is written again, since `sluice-edge.service` may have just ended when the file changed.
 */
const deadlines = { applied: 30_000, again: 5_000, poll: 50 };

export interface EdgeOptions {
  paths: Paths;
  settings: ServerSettings;
  log: Log;
  /** returns true if the live release of an environment sends each client to the same worker */
  hasAffinity?: (id: EnvironmentId) => Promise<boolean>;
  /** called when nginx routes to fewer addresses than before */
  released?: () => void;
  /** limit for one apply by `sluice-edge.service`, in ms */
  applyDeadline?: number;
}

/**
 * Has nginx serve the domains: writes the desired hosts into `wanted.json`, and waits for the answer of
 * `sluice-edge.service` (apply.ts) in `applied.json`.
 */
export class DesiredHosts {
  readonly #options: EdgeOptions;
  readonly #certificates: Certificates;
  readonly #domains: () => readonly Domain[];
  readonly #turns = new Lock();
  /** apply that waits for its turn */
  #next: Promise<void> | undefined;
  /** hosts that nginx may serve now: those of the last apply, and of all failed ones before it */
  #routed: readonly DesiredHost[] = [];
  #appliedAt = 0;
  fault: EdgeFault = null;

  /** @param domains returns all domains, including those that nginx has not confirmed yet */
  constructor(options: EdgeOptions, certificates: Certificates, domains: () => readonly Domain[]) {
    this.#options = options;
    this.#certificates = certificates;
    this.#domains = domains;
  }

  /** Reads the hosts that an earlier server requested. */
  async load(): Promise<void> {
    this.#routed = (await this.#desired())?.hosts ?? [];
  }

  /** Creates the directories. The modes do not depend on the umask: nginx reads the challenges. */
  async prepare(): Promise<void> {
    const { directory, challenges, certificates, openOrders } = this.#options.paths.edge;
    const modes = { [directory]: 0o711, [challenges]: 0o755, [certificates]: 0o700, [openOrders]: 0o700 };
    for (const [path, mode] of Object.entries(modes)) {
      await mkdir(path, { recursive: true });
      await chmod(path, mode);
    }
  }

  /** Addresses of apps to which nginx may send requests now. */
  get routed(): { host: string; port: number }[] {
    return this.#routed.flatMap((host) =>
      'address' in host ? [{ host: host.address, port: host.port }] : [],
    );
  }

  /** True if an apply is worthwhile: after a failure, only from time to time. */
  get isDue(): boolean {
    return this.fault === null || Date.now() - this.#appliedAt > retryApplyAfter;
  }

  /**
   * Has nginx serve all domains that have a certificate and an app, and no others. Calls that wait during an earlier turn
   * share the next turn.
   * @throws AppError `nginx_failed` with nginx's message; `edge_unavailable` without an answer
   */
  apply(): Promise<void> {
    this.#next ??= this.#turns.run(() => {
      this.#next = undefined;
      return this.#apply(this.#domains());
    });
    return this.#next;
  }

  /** Has nginx serve some of the domains, in a turn of its own. */
  applyOnly(isIncluded: (domain: Domain) => boolean): Promise<void> {
    return this.#turns.run(() => this.#apply(this.#domains().filter(isIncluded)));
  }

  async #apply(domains: readonly Domain[]): Promise<void> {
    try {
      const all = await Array.fromAsync(domains, (domain) => this.#hostOf(domain));
      const hosts = all.filter((host) => host !== undefined);
      this.#routed = [...this.#routed, ...hosts];
      await this.#request(hosts);
      this.#routed = hosts;
      this.fault = null;
      this.#options.released?.();
    } catch (error) {
      this.fault = errorBody(error);
      throw error;
    } finally {
      this.#appliedAt = Date.now();
    }
  }

  async #hostOf({ name, target: environment }: Domain): Promise<DesiredHost | undefined> {
    const { paths, settings, hasAffinity } = this.#options;
    const certificate = this.#certificates.known(name)?.fingerprint;
    if (certificate === undefined) return undefined;
    if (environment === null) return { name, api: true, certificate };
    const state = await loadEnvironmentState(paths.environment(environment).state);
    if (state === undefined) return undefined;
    const host = state.host ?? settings.apps.host;
    const address = isWildcard(host) ? '127.0.0.1' : host;
    const isPerClient = await hasAffinity?.(environment);
    return { name, address, port: state.port, certificate, ...(isPerClient && { affinity: 'client' }) };
  }

  /** Writes the desired hosts, unless nginx serves them already, and waits for the answer. */
  async #request(hosts: DesiredHost[]): Promise<void> {
    const desired = await this.#desired();
    const applied = await this.#applied();
    const isApplied = desired?.revision === applied?.revision && applied?.error === null;
    if (isApplied && isDeepStrictEqual(desired?.hosts, hosts)) return;
    if (desired === undefined && hosts.length === 0) return;
    const revision = Math.max(desired?.revision ?? 0, applied?.revision ?? 0) + 1;
    const { paths, applyDeadline = deadlines.applied } = this.#options;
    const end = Date.now() + applyDeadline;
    let writeAt = 0;
    for (; Date.now() < end; await sleep(deadlines.poll)) {
      if (Date.now() >= writeAt) {
        await writeJsonAtomic(paths.edge.desired, { revision, hosts } satisfies Desired);
        writeAt = Date.now() + deadlines.again;
      }
      const answer = await this.#applied();
      // Revision 0 answers an unreadable file, so another program has overwritten it.
      if (answer?.revision !== revision) continue;
      if (answer.error === null) return;
      throw new AppError('nginx_failed', answer.error.message, { hint: answer.error.hint });
    }
    throw new AppError(
      'edge_unavailable',
      `nothing on this machine has configured nginx within ${applyDeadline / 1000} s`,
      {
        hint: 'sluice-edge.path and sluice-edge.service of a system-wide install configure nginx: run `systemctl status sluice-edge.path sluice-edge.service`. An install with `./install.sh --local` has no domains: use a proxy of your own.',
      },
    );
  }

  /** Reads `wanted.json`. A damaged one counts as absent: it is written again. */
  async #desired(): Promise<Desired | undefined> {
    const value = await readJson(this.#options.paths.edge.desired).catch(() => undefined);
    return v.is(desiredSchema, value) ? value : undefined;
  }

  /** Reads `applied.json`, whose author is root. A damaged one counts as absent: it is written again. */
  async #applied(): Promise<Applied | undefined> {
    const value = await readJson(this.#options.paths.edge.applied).catch(() => undefined);
    return value as Applied | undefined;
  }
}
