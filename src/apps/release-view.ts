import type { EnvironmentState } from '../config/environment-state.ts';
import { AppError } from '../errors/app-error.ts';
import type { AppProtocol } from '../protocol/worker.ts';
import { noCommit, type Release, type ReleaseRecord, releaseState } from '../releases/release.ts';
import { isWildcard, toUrlHost } from '../system/net/address.ts';
import type { Environment } from './environment.ts';

/** A release as the API shows it. @throws AppError `release_not_found` */
export async function releaseView(environment: Environment, number: number): Promise<Release> {
  const record = await environment.store.get(number);
  if (record === undefined) throw releaseNotFound(environment, number);
  return view(environment, record, await environment.store.active());
}

/** All releases of an environment, the newest first. */
export async function releaseViews(environment: Environment): Promise<Release[]> {
  const [records, active] = await Promise.all([environment.store.list(), environment.store.active()]);
  return Promise.all(records.map((record) => view(environment, record, active)));
}

export function releaseNotFound(environment: Environment, number: number): AppError {
  return new AppError('release_not_found', `${environment.name} has no release ${number}`, {
    hint: `\`sluice releases ${environment.name}\` lists the ones there are.`,
  });
}

/**
 * Returns the URL at which clients reach an app: its first domain, or else its port.
 * @param protocol that the app speaks on its port
 */
export function siteUrl(
  { appliance, id }: Environment,
  { port }: EnvironmentState,
  protocol: AppProtocol = 'http',
): string {
  const [domain] = appliance.domains.of(id);
  if (domain !== undefined) return domain.url;
  const { host, hostname } = appliance.settings.apps;
  const name = hostname ?? (isWildcard(host) ? 'localhost' : toUrlHost(host));
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

async function view(
  environment: Environment,
  record: ReleaseRecord,
  active: { release: number } | null,
): Promise<Release> {
  const { source, run: _run, protocol, ...told } = record;
  const { kind: _kind, ...origin } = source;
  return {
    ...environment.id,
    ...told,
    ...noCommit,
    ...origin,
    url: siteUrl(environment, await environment.state(), protocol),
    state: releaseState(record, {
      activeRelease: active?.release ?? null,
      hasTree: await environment.store.hasTree(record.number),
      underWay: environment.deploys.get(record.number)?.isUnderWay ?? false,
    }),
  };
}
