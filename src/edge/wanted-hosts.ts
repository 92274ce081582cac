import { loadEnvironmentState } from '../config/environment-state.ts';
import type { Paths } from '../config/paths.ts';
import type { ServerSettings } from '../config/server-settings.ts';
import { errorBody } from '../errors/app-error.ts';
import { Slots } from '../system/concurrency/slots.ts';
import { isWildcard } from '../system/net/address.ts';
import type { Certificates } from './certificates.ts';
import type { WantedHost } from './documents.ts';
import type { Domain } from './domain.ts';
import type { Front } from './front.ts';

/** How nginx was told last; null where it does what is wanted. */
export type EdgeFault = { code: string; message: string; hint: string } | null;

/** In ms: how long after a failure nginx is told again, should it have been put in order meanwhile. */
const applyAgain = 600_000;

interface WantedHostsOptions {
  paths: Paths;
  settings: ServerSettings;
  certificates: Certificates;
  front: Front;
  /** all domains, including those that nginx has not confirmed yet */
  domains: () => readonly Domain[];
  /** called when nginx sends requests to fewer places than before */
  released: () => void;
}

/** What nginx is to do for the domains there are, and what came of it last. */
export class WantedHosts {
  readonly #options: WantedHostsOptions;
  #fault: EdgeFault = null;
  /** hosts that nginx may answer for: those of the last try, and of all failed tries before it */
  #maybe: readonly WantedHost[] = [];
  #appliedAt = 0;
  readonly #turns = new Slots(1);
  /** the turn that waits and has not begun */
  #next: Promise<void> | undefined;

  constructor(options: WantedHostsOptions) {
    this.#options = options;
  }

  get fault(): EdgeFault {
    return this.#fault;
  }

  /** Reads the hosts that an earlier server asked nginx for. */
  async load(): Promise<void> {
    this.#maybe = await this.#options.front.hosts();
  }

  /** Addresses of apps to which nginx may send requests now. */
  get routed(): { host: string; port: number }[] {
    return this.#maybe.flatMap((host) =>
      'address' in host ? [{ host: host.address, port: host.port }] : [],
    );
  }

  /** Whether it is worth a try: after a failure only now and then. */
  get isDue(): boolean {
    return this.#fault === null || Date.now() - this.#appliedAt > applyAgain;
  }

  /**
   * Has nginx serve exactly these domains: all that have a certificate and an app. Calls that wait while an earlier turn runs
   * share the next turn.
   * @throws AppError `nginx_failed`, `edge_unavailable`
   */
  apply(): Promise<void> {
    this.#next ??= this.#turns.run(() => {
      this.#next = undefined;
      return this.#apply(this.#options.domains());
    });
    return this.#next;
  }

  /** Has nginx serve only some of the domains, in a turn of its own. @param domains called when the turn begins */
  applyOnly(domains: () => readonly Domain[]): Promise<void> {
    return this.#turns.run(() => this.#apply(domains()));
  }

  async #apply(domains: readonly Domain[]): Promise<void> {
    try {
      const hosts: WantedHost[] = [];
      for (const domain of domains) {
        const host = await this.#wanted(domain);
        if (host !== undefined) hosts.push(host);
      }
      this.#maybe = [...this.#maybe, ...hosts];
      await this.#options.front.apply(hosts);
      this.#maybe = hosts;
      this.#fault = null;
      this.#options.released();
    } catch (error) {
      this.#fault = errorBody(error);
      throw error;
    } finally {
      this.#appliedAt = Date.now();
    }
  }

  async #wanted({ name, target }: Domain): Promise<WantedHost | undefined> {
    const certificate = this.#options.certificates.known(name)?.fingerprint;
    if (certificate === undefined) return undefined;
    if (target === null) return { name, api: true, certificate };
    const { paths, settings } = this.#options;
    const state = await loadEnvironmentState(paths.environment(target).state);
    return state && { name, address: reachable(settings.apps.host), port: state.port, certificate };
  }
}

/** What listens everywhere is asked on the loopback. */
function reachable(host: string): string {
  return isWildcard(host) ? '127.0.0.1' : host;
}
