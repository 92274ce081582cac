import { loadEnvironmentState } from '../config/environment-state.ts';
import { NamedRecords } from '../config/named-records.ts';
import { type EnvironmentId, environmentName } from '../config/paths.ts';
import { AppError, errorBody } from '../errors/app-error.ts';
import { LockByKey } from '../system/concurrency/slots.ts';
import { exists } from '../system/fs/exists.ts';
import { repeat } from '../system/time/schedule.ts';
import { describeCertificate } from './certificate.ts';
import { Certificates } from './certificates.ts';
import { DesiredHosts, type EdgeFault, type EdgeOptions } from './desired-hosts.ts';
import {
  type Domain,
  type DomainView,
  domainSchema,
  hostNameFrom,
  type NewDomain,
  viewDomain,
} from './domain.ts';
import { Orders } from './orders.ts';

/** Longest time without a comparison of nginx with the records, in ms, while the server rests. */
const maxPause = 3_600_000;

/**
 * Domains: their records, their certificates, and nginx, which serves them. An app on its own port depends on none of
 * these, and a deploy changes none of them.
 */
export class Edge {
  readonly #options: EdgeOptions;
  readonly #domains: NamedRecords<Domain>;
  readonly #certificates: Certificates;
  readonly #orders: Orders;
  readonly #hosts: DesiredHosts;
  /** changes by host name: each waits until nginx has confirmed the change before */
  readonly #names = new LockByKey();
  /** new domains that nginx has not confirmed yet */
  readonly #unproven = new Set<Domain>();
  readonly #background = new Set<Promise<void>>();
  #damage: EdgeFault = null;
  /** ends the checks of the domains; undefined before they start */
  #endChecks: (() => void) | undefined;
  #isStopping = false;

  constructor(options: EdgeOptions) {
    const { paths } = options;
    this.#options = options;
    this.#domains = new NamedRecords(paths.domains, domainSchema, 'domain');
    this.#certificates = new Certificates(paths.edge);
    this.#orders = new Orders(options, this.#certificates);
    this.#hosts = new DesiredHosts(options, this.#certificates, () => this.#all);
  }

  get #all(): readonly Domain[] {
    return this.#damage === null ? this.#domains.known : [];
  }

  /** Addresses to which nginx may send requests now, including those of removed apps. */
  get routed(): { host: string; port: number }[] {
    return this.#hosts.routed;
  }

  /** Reads the domains; call it first. Reports a damaged file as a fault, and lets everything else run. */
  async load(): Promise<void> {
    try {
      await this.#hosts.load();
      if ((await this.#domains.all()).length === 0) return;
      await this.#hosts.prepare();
      await this.#prune();
      const names = this.#all.map(({ name }) => name);
      await this.#orders.load(names);
      await this.#ensureCertificates();
      await this.#certificates.sweep(names);
    } catch (error) {
      this.#damage = errorBody(error);
      this.#options.log.error('domains not read', { error });
    }
  }

  /** Applies the domains to nginx, and renews certificates, from now on. */
  start(): void {
    // Without domains, nginx may still serve those of a removed app.
    if (this.#damage !== null || (this.#all.length === 0 && this.routed.length === 0)) return;
    this.#inBackground(() => this.#tick());
    this.#startChecks();
  }

  /** True while a domain is changed or a certificate is ordered, or nginx has to be configured again after a failure. */
  get isBusy(): boolean {
    return this.#background.size > 0 || this.fault !== null;
  }

  /** Returns the time until the next check of the domains is useful, in ms: an hour at most; null if there are no domains. */
  get dueIn(): number | null {
    if (this.#endChecks === undefined) return null;
    const due = this.#all.map(({ name, certificate }) => {
      if (certificate === 'acme') return this.#orders.dueAt(name);
      const known = this.#certificates.known(name);
      return certificate === 'own' || known === undefined
        ? Number.POSITIVE_INFINITY
        : Date.parse(known.renewAt);
    });
    return Math.max(0, Math.min(maxPause, Math.min(...due) - Date.now()));
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#endChecks?.();
    await this.#orders.stop();
    await Promise.all(this.#background);
  }

  get fault(): EdgeFault {
    return this.#damage ?? (this.#all.length === 0 ? null : this.#hosts.fault);
  }

  list(): DomainView[] {
    return this.#all.map((domain) => this.#view(domain));
  }

  /** Returns the domains of an environment, the oldest first. */
  of({ app, environment }: EnvironmentId): DomainView[] {
    return this.list().filter((domain) => domain.app === app && domain.environment === environment);
  }

  /** @throws AppError `domain_not_found` */
  get(name: string): DomainView {
    return this.#view(this.#find(name));
  }

  /**
   * Routes a host name to an app or to the API. When fulfilled, nginx serves the name, with the domain's own certificate or
   * a temporary one while an order is under way. If the name already routes to the environment, only its certificate changes.
   * A call that cannot succeed fails at once. A call waits only for nginx and for calls with the same name.
   * @throws AppError `invalid_domain`, `domain_taken`, `app_not_found`, `invalid_certificate`, `nginx_failed`,
   *   `edge_unavailable`: nothing has changed then. `domain_not_found` if the app was removed meanwhile
   */
  async add({ name: text, environment, certificate }: NewDomain): Promise<DomainView> {
    if (this.#damage !== null) throw AppError.from(this.#damage);
    const name = hostNameFrom(text);
    const isOwn = typeof certificate !== 'string';
    const pem = isOwn ? `${certificate.key.trim()}\n${certificate.certificate.trim()}\n` : undefined;
    if (pem !== undefined) describeCertificate(pem, name);
    await this.#assertPossible(name, environment);
    return this.#names.run(name, async () => {
      const before = await this.#assertPossible(name, environment);
      const domain: Domain = {
        ...{ name, target: environment, certificate: isOwn ? 'own' : certificate },
        createdAt: before?.createdAt ?? new Date().toISOString(),
      };
      await this.#hosts.prepare();
      await this.#put(domain, before, pem);
      await this.#orders.retryNow(name);
      this.#startChecks();
      // A certificate of the domain's owner is used until the order succeeds.
      const isReplaced = before?.certificate === 'own' && certificate === 'acme';
      const view = this.get(name);
      this.#inBackground(() => this.#order(domain, isReplaced || undefined));
      return view;
    });
  }

  async #put(domain: Domain, before: Domain | undefined, pem: string | undefined): Promise<void> {
    const { name, target } = domain;
    const restore = await this.#certificates.remember(name);
    try {
      if (pem !== undefined) {
        const { expiresAt } = await this.#certificates.write(name, pem);
        if (Date.parse(expiresAt) <= Date.now())
          this.#options.log.warn('certificate has expired', { domain: name, expiresAt });
      }
      await this.#ensureCertificate(domain);
      if (before === undefined) this.#unproven.add(domain);
      await this.#domains.change(
        (all) =>
          before === undefined ? [...all, domain] : all.map((each) => (each.name === name ? domain : each)),
        // The app may have been removed by now.
        () => this.#assertPossible(name, target),
      );
      await this.#apply(domain);
    } catch (error) {
      if (this.#all.includes(domain))
        await this.#domains.change((all) =>
          all.flatMap((each) => (each === domain ? (before ?? []) : [each])),
        );
      // The removal of the app may have removed the earlier domain, and is about to remove its certificate.
      await this.#domains.between(async (all) => {
        if (before === undefined || all.includes(before)) await restore();
      });
      // `wanted.json` must match the records, in case nginx can serve them later.
      this.#inBackground(() => this.#tryToApply());
      throw error;
    } finally {
      this.#unproven.delete(domain);
    }
  }

  /** Applies all domains to nginx. If nginx refuses them, applies them without the other new ones: one may be the reason. */
  async #apply(own?: Domain): Promise<void> {
    const hasOthers = () => [...this.#unproven].some((domain) => domain !== own);
    const hadOthers = hasOthers();
    try {
      await this.#hosts.apply();
    } catch (error) {
      const isRefusal = error instanceof AppError && error.code === 'nginx_failed';
      if (!isRefusal || !(hadOthers || hasOthers())) throw error;
      await this.#hosts.applyOnly((domain) => domain === own || !this.#unproven.has(domain));
    }
  }

  /** @throws AppError `domain_not_found`, or after the removal `nginx_failed`, `edge_unavailable` */
  remove(name: string): Promise<void> {
    return this.#names.run(name, async () => {
      const domain = this.#find(name);
      await this.#removeWhere((each) => each === domain);
      await this.#apply();
    });
  }

  /** Has nginx use the present addresses of the apps, in the background. */
  refresh(): void {
    if (this.#all.length > 0) this.#inBackground(() => this.#tryToApply());
  }

  /** Removes the domains of environments that are removed. The status reports a failure of nginx. */
  async removeOf(isRemoved: (id: EnvironmentId) => boolean): Promise<void> {
    if (await this.#removeWhere(({ target }) => target !== null && isRemoved(target)))
      this.#inBackground(() => this.#tryToApply());
  }

  /** Removes domains and their own certificates. Leaves those of an ACME server to `sweep`. @returns false if no domain matches */
  async #removeWhere(matches: (domain: Domain) => boolean): Promise<boolean> {
    const removed = await this.#domains.removeWhere(matches);
    for (const { name, certificate } of removed) {
      if (certificate !== 'acme') await this.#certificates.remove(name);
    }
    return removed.length > 0;
  }

  #find(name: string): Domain {
    const domain = this.#all.find((each) => each.name === name);
    if (domain !== undefined) return domain;
    throw new AppError('domain_not_found', `domain ${name} not found`, {
      hint: 'List domains: `sluice domains list`.',
    });
  }

  #view(domain: Domain): DomainView {
    const { name } = domain;
    const order = this.#orders.record(name);
    return viewDomain(domain, this.#certificates.known(name), order, this.#orders.progress(name));
  }

  /** Removes domains of removed apps: the server may have crashed between the two removals. */
  async #prune(): Promise<void> {
    for (const { name, target: environment } of this.#all) {
      if (environment === null || (await exists(this.#options.paths.environment(environment).state)))
        continue;
      this.#options.log.warn('domain of no app removed', { domain: name, app: environmentName(environment) });
      await this.#domains.remove(name);
    }
  }

  /** @returns the domain of this name, if there is one. @throws AppError `domain_taken`, `app_not_found` */
  async #assertPossible(name: string, environment: EnvironmentId | null): Promise<Domain | undefined> {
    if (
      environment !== null &&
      (await loadEnvironmentState(this.#options.paths.environment(environment).state)) === undefined
    ) {
      throw new AppError('app_not_found', `app ${environmentName(environment)} not found`, {
        hint: 'Deploy it first. List apps: `sluice apps`.',
      });
    }
    const before = this.#all.find((domain) => domain.name === name);
    if (before === undefined || routeOf(before.target) === routeOf(environment)) return before;
    throw new AppError('domain_taken', `${name} already routes to ${routeOf(before.target)}`, {
      hint: `Remove it first: \`sluice domains remove ${name}\`.`,
    });
  }

  async #ensureCertificates(): Promise<void> {
    for (const domain of this.#all) {
      try {
        await this.#ensureCertificate(domain);
      } catch (error) {
        this.#options.log.error('certificate not created', { domain: domain.name, error });
      }
    }
  }

  /** Creates a certificate if nginx has none to serve the domain with. */
  async #ensureCertificate({ name, certificate: kind }: Domain): Promise<void> {
    const known = await this.#certificates.load(name).catch((error: unknown) => {
      this.#options.log.error('certificate damaged', { domain: name, error });
      return undefined;
    });
    const isDue = known !== undefined && Date.parse(known.renewAt) <= Date.now();
    const isNeeded = known === undefined || (kind === 'self-signed' && (isDue || !known.selfSigned));
    if (isNeeded || (kind === 'acme' && known.selfSigned && isDue)) await this.#certificates.selfSign(name);
  }

  async #tryToApply(): Promise<void> {
    try {
      await this.#hosts.apply();
    } catch (error) {
      this.#options.log.error('nginx not configured', { error });
    }
  }

  #startChecks(): void {
    if (this.#endChecks !== undefined || this.#isStopping) return;
    this.#endChecks = repeat(this.#options.settings.acme.schedule, () =>
      this.#inBackground(() => this.#tick()),
    );
  }

  /** Compares the actual state with the desired one, and acts on every difference, whatever its cause. */
  async #tick(): Promise<void> {
    await this.#ensureCertificates();
    if (this.#hosts.isDue) await this.#tryToApply();
    await Promise.all(this.#all.map((domain) => this.#order(domain)));
  }

  /** Orders a certificate if it is due. Without nginx, the ACME server cannot verify the name. */
  async #order({ name, certificate }: Domain, isDue = this.#orders.isDue(name)): Promise<void> {
    if (certificate !== 'acme' || this.#hosts.fault !== null || !isDue) return;
    await this.#orders.order(name, () => this.#tryToApply());
  }

  #inBackground(work: () => Promise<void>): void {
    // With damaged records, nginx keeps the domains that it serves.
    if (this.#isStopping || this.#damage !== null) return;
    const running = work()
      .catch((error: unknown) => this.#options.log.error('update of domains failed', { error }))
      .finally(() => this.#background.delete(running));
    this.#background.add(running);
  }
}

function routeOf(environment: EnvironmentId | null): string {
  return environment === null ? 'the API' : environmentName(environment);
}
