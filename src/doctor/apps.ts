import type { AppStatus } from '../apps/status.ts';
import { ownLog } from '../config/installed.ts';
import type { DomainView } from '../edge/domain.ts';
import { formatDuration } from '../system/text/format.ts';
import { type Finding, fault, nameOf, ok, warning } from './check.ts';
import type { Snapshot } from './snapshot.ts';

/** Longest start of an app that doctor accepts, in ms. */
const maxStart = 60_000;

/** Checks that all apps run that should. */
export function* checkApps({ server, systemWide }: Snapshot): Iterable<Finding> {
  if (server.state !== 'up') return;
  const { apps } = server.status;
  const hint = `Read the output of the app: \`sluice logs APP\`. Read why it did not start: ${ownLog(systemWide)}.
Return to an earlier release: \`sluice rollback APP\`.`;
  for (const app of apps) {
    for (const message of faultsOf(app)) yield fault(message, hint);
    const { rebuild, deploying } = app;
    const name = nameOf(app);
    if (rebuild !== null && deploying.length === 0) {
      yield warning(
        `${name} does not run: release ${rebuild} was restored from a backup and could not be built`,
        `Read why: \`sluice releases ${name}\`. Build it again: \`sluice deploy --app ${name} --release ${rebuild}\`.`,
      );
    }
  }
  const running = apps.filter(({ state }) => state === 'running').length;
  const others = running === apps.length ? '' : '; the others are stopped, starting or have no release yet';
  yield ok(apps.length === 0 ? 'there are none yet' : `${running} of ${apps.length} run${others}`);
}

function* faultsOf(app: AppStatus): Iterable<string> {
  const { state, wanted, workers, background } = app;
  const name = nameOf(app);
  const reason = app.problem ?? app.crash;
  const why = reason === null ? '' : `: ${reason.message}`;
  if (state === 'crashed') yield `${name} is crashed${why}`;
  const age = Date.now() - Date.parse(app.since);
  if (state === 'starting' && (age > maxStart || reason !== null))
    yield `${name} has been starting for ${formatDuration(age)}${why}`;
  const open = workers.filter((worker) => worker.state === 'open').length;
  if (state === 'running' && app.crash !== null && wanted !== null && open < wanted)
    yield `${name} has ${open} of ${wanted} workers${why}`;
  for (const { name: process, instance, crash } of background.filter((each) => each.state === 'crashed'))
    yield `${process}.${instance} of ${name} is crashed${crash === null ? '' : `: ${crash.message}`}`;
}

/** Remaining lifetime of a certificate from which on its owner is asked to renew it, in ms. */
const notice = 14 * 86_400_000;

/** Checks that nginx serves all domains, with certificates that browsers accept. */
export function* checkDomains({ server }: Snapshot): Iterable<Finding> {
  if (server.state !== 'up') return;
  const { apps, domains: own, edge } = server.status;
  if (edge.fault !== null) return yield fault(`nginx is not set up: ${edge.fault.message}`, edge.fault.hint);
  const domains = [...own, ...apps.flatMap((app) => app.domains)];
  if (domains.length === 0) return;
  for (const app of apps) {
    const [domain] = app.domains;
    if (app.url === null && domain !== undefined)
      yield warning(
        `${domain.name} routes to ${nameOf(app)}, which runs without a port`,
        `Remove the domain: \`sluice domains remove ${domain.name}\`. Or deploy a release with workers.`,
      );
  }
  for (const domain of domains) {
    const { state } = domain.certificate;
    const found = state === 'failed' || state === 'expired' ? fault : warning;
    if (found === fault || isDoubtful(domain)) yield found(describeCertificate(domain), renewalHint(domain));
  }
  const [first] = domains.flatMap(({ certificate }) => certificate.expiresAt ?? []).sort();
  const expiry = first === undefined ? '' : `; the first certificate expires on ${first.slice(0, 10)}`;
  yield ok(`${domains.length} served${expiry}`);
}

function isDoubtful({ certificate: { kind, state, error, expiresAt } }: DomainView): boolean {
  if (state !== 'valid' || error !== null) return true;
  return kind === 'own' && expiresAt !== null && Date.parse(expiresAt) - Date.now() < notice;
}

function describeCertificate({ name, certificate: { state, expiresAt, error } }: DomainView): string {
  const why = error === null ? '' : `: ${error.message}`;
  const end = expiresAt?.slice(0, 10);
  switch (state) {
    case 'expired':
    case 'valid':
      return `the certificate of ${name} ${state === 'valid' ? 'expires' : 'expired'} on ${end}${why}`;
    case 'failed':
      return `${name} has no certificate${why}`;
    case 'waiting':
    case 'ordering':
      return `${name} has no certificate yet: the order is in progress`;
  }
}

function renewalHint({ certificate: { kind, error } }: DomainView): string {
  if (error !== null) return error.hint;
  return kind === 'own' ? 'Replace it: `sluice domains add APP NAME --certificate FILE --key FILE`.' : '';
}
