import type { EnvironmentState } from '../config/environment-state.ts';
import type { DomainView } from '../edge/domain.ts';
import { AppError } from '../errors/app-error.ts';
import type { Notice } from '../protocol/runner.ts';
import type { AppProtocol } from '../protocol/worker.ts';
import { hasWorkers, noCommit, type Release, type ReleaseRecord, releaseState } from '../releases/release.ts';
import { isLoopback, isWildcard, toUrlHost } from '../system/net/address.ts';
import type { Environment } from './environment.ts';

/** Returns a release as the API shows it. @throws AppError `release_not_found` */
export async function releaseView(environment: Environment, number: number): Promise<Release> {
  const record = await environment.store.get(number);
  if (record === undefined) throw releaseNotFound(environment.name, number);
  return view(environment, record, await environment.store.active());
}

/** Returns all releases of an environment, the newest first. */
export async function releaseViews(environment: Environment): Promise<Release[]> {
  const [records, active] = await Promise.all([environment.store.list(), environment.store.active()]);
  return Promise.all(records.map((record) => view(environment, record, active)));
}

export function releaseNotFound(name: string, number: number): AppError {
  return new AppError('release_not_found', `release ${number} of ${name} not found`, {
    hint: `List releases: \`sluice releases ${name}\`.`,
  });
}

/**
 * Returns the URL at which clients reach a release, which is that of the first domain of its app, or else that of its port, and the
 * place of these clients; nulls without workers.
 * @param release undefined if none has been live
 */
export function appAddress(
  environment: Environment,
  state: EnvironmentState,
  release: Pick<ReleaseRecord, 'protocol' | 'run'> | undefined,
): Pick<Release, 'url' | 'reach'> {
  if (release !== undefined && !hasWorkers(release)) return { url: null, reach: null };
  const { appliance, id } = environment;
  const [domain] = appliance.domains.of(id);
  if (domain !== undefined) return { url: domain.url, reach: 'domain' };
  const host = hostOf(environment, state);
  const name = appliance.settings.apps.hostname ?? (isWildcard(host) ? 'localhost' : toUrlHost(host));
  const url = `${protocols[release?.protocol ?? 'http'].scheme}://${name}:${state.port}`;
  return { url, reach: isLoopback(host) ? 'server' : 'network' };
}

/** Returns the address on which an app listens. */
export function hostOf({ appliance }: Pick<Environment, 'appliance'>, { host }: EnvironmentState): string {
  return host ?? appliance.settings.apps.host;
}

const protocols: Record<AppProtocol, { scheme: string; name: string }> = {
  http: { scheme: 'http', name: 'HTTP' },
  https: { scheme: 'https', name: 'HTTPS' },
  http2: { scheme: 'http', name: 'HTTP/2' },
  http2s: { scheme: 'https', name: 'HTTP/2 over TLS' },
  tcp: { scheme: 'tcp', name: 'a protocol other than HTTP' },
  tls: { scheme: 'tls', name: 'a protocol other than HTTP over TLS' },
};

/**
 * Returns a notice if an app does not work behind nginx, which speaks plain HTTP to apps.
 * @param protocol that the app speaks on its port; null for an app without a port
 */
export function behindNginxNotices(protocol: AppProtocol | null, { name, url }: DomainView): Notice[] {
  if (protocol === 'http') return [];
  if (protocol === null)
    return [
      {
        code: 'domain_without_port',
        message: `The app runs without a port, so ${url} answers 502.`,
        hint: `Remove the domain: \`sluice domains remove ${name}\`.`,
      },
    ];
  return [
    {
      code: 'not_plain_http',
      message: `The app speaks ${protocols[protocol].name} on its port, but nginx speaks plain HTTP to apps: ${url} answers 502.`,
      hint: `Let the app listen with node:http; nginx terminates TLS for its domains. Or run \`sluice domains remove ${name}\` and use the port.`,
    },
  ];
}

async function view(
  environment: Environment,
  record: ReleaseRecord,
  active: { release: number } | null,
): Promise<Release> {
  const { source, run: _run, builtWith: _builtWith, protocol: _protocol, ...shown } = record;
  const { kind: _kind, ...origin } = source;
  return {
    ...environment.id,
    ...shown,
    ...noCommit,
    ...origin,
    ...appAddress(environment, await environment.state(), record),
    state: releaseState(record, {
      activeRelease: active?.release ?? null,
      hasTree: await environment.store.hasTree(record.number),
      underWay: environment.deploys.get(record.number)?.isUnderWay ?? false,
    }),
  };
}
