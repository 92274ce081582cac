import type { TargetState } from '../config/environment-state.ts';
import { AppError } from '../errors/app-error.ts';
import type { AppProtocol } from '../protocol/worker.ts';
import { noCommit, type Release, type ReleaseRecord } from '../releases/release.ts';
import { releaseState } from '../releases/state.ts';
import { inUrl, isEverywhere } from '../system/net/address.ts';
import type { Site } from './environment.ts';

/** A release as the API shows it. @throws AppError `release_not_found` */
export async function releaseView(site: Site, number: number): Promise<Release> {
  const record = await site.store.get(number);
  if (record === undefined) throw releaseNotFound(site, number);
  return view(site, record, await site.store.active());
}

/** All releases of a site, the newest first. */
export async function releaseViews(site: Site): Promise<Release[]> {
  const [records, active] = await Promise.all([site.store.list(), site.store.active()]);
  return Promise.all(records.map((record) => view(site, record, active)));
}

export function releaseNotFound(site: Site, number: number): AppError {
  return new AppError('release_not_found', `${site.name} has no release ${number}`, {
    hint: `\`sluice releases ${site.name}\` lists the ones there are.`,
  });
}

/**
 * Returns the URL at which clients reach an app: its first domain, or else its port.
 * @param protocol that the app speaks on its port
 */
export function siteUrl(
  { appliance, target }: Site,
  { port }: TargetState,
  protocol: AppProtocol = 'http',
): string {
  const [domain] = appliance.domains.of(target);
  if (domain !== undefined) return domain.url;
  const { host, hostname } = appliance.settings.apps;
  const name = hostname ?? (isEverywhere(host) ? 'localhost' : inUrl(host));
  return `${schemes[protocol]}://${name}:${port}`;
}

const schemes: Record<AppProtocol, string> = {
  http: 'http',
  http2: 'http',
  https: 'https',
  http2s: 'https',
  tcp: 'tcp',
  tls: 'tls',
};

async function view(site: Site, record: ReleaseRecord, active: { release: number } | null): Promise<Release> {
  const { source, run: _run, protocol, ...told } = record;
  const { kind: _kind, ...origin } = source;
  return {
    ...site.target,
    ...told,
    ...noCommit,
    ...origin,
    url: siteUrl(site, await site.state(), protocol),
    state: releaseState(record, {
      activeRelease: active?.release ?? null,
      hasTree: await site.store.hasTree(record.number),
      underWay: site.deployments.get(record.number)?.isUnderWay ?? false,
    }),
  };
}
