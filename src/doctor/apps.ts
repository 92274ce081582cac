import type { AppStatus } from '../apps/status.ts';
import { ownLog } from '../config/installed.ts';
import type { DomainView } from '../edge/domain.ts';
import { formatDuration } from '../system/text/format.ts';
import { type Check, fault, nameOf, ok, warning } from './check.ts';

/** Longest start of an app that doctor accepts, in ms. */
const maxStart = 60_000;

/** Checks that all apps run that should. */
export const appsCheck: Check = {
  name: 'apps',
  async run({ server, systemWide }) {
    if (server.state !== 'up') return undefined;
    const { apps } = server.status;
    const faults = apps.flatMap(faultsOf);
    if (faults.length > 0) {
      return fault(
        faults.join('\n'),
        `Read the output of the app: \`sluice logs APP\`. Read why it did not start: ${ownLog(systemWide)}.
Return to an earlier release: \`sluice rollback APP\`.`,
      );
    }
    const unbuilt = apps.filter(({ rebuild, deploying }) => rebuild !== null && deploying.length === 0);
    if (unbuilt.length > 0) {
      const messages = unbuilt.map(
        (app) =>
          `${nameOf(app)} does not run: release ${app.rebuild} was restored from a backup and could not be built`,
      );
      return warning(messages.join('\n'), unbuilt.map(howToBuild).join('\n'));
    }
    if (apps.length === 0) return ok('there are none yet');
    const running = apps.filter(({ state }) => state === 'running').length;
    const others = running === apps.length ? '' : '; the others are stopped, starting or have no release yet';
    return ok(`${running} of ${apps.length} run${others}`);
  },
};

function howToBuild(app: AppStatus): string {
  const name = nameOf(app);
  return `Read why: \`sluice releases ${name}\`. Build it again: \`sluice deploy --app ${name} --release ${app.rebuild}\`.`;
}

function faultsOf(app: AppStatus): string[] {
  const name = nameOf(app);
  const reason = app.problem ?? app.crash;
  const why = reason === null ? '' : `: ${reason.message}`;
  const faults: string[] = [];
  if (app.state === 'crashed') faults.push(`${name} is crashed${why}`);
  const age = Date.now() - Date.parse(app.since);
  if (app.state === 'starting' && (age > maxStart || reason !== null)) {
    faults.push(`${name} has been starting for ${formatDuration(age)}${why}`);
  }
  const open = app.workers.filter(({ state }) => state === 'open').length;
  if (app.state === 'running' && app.crash !== null && app.wanted !== null && open < app.wanted) {
    faults.push(`${name} has ${open} of ${app.wanted} workers${why}`);
  }
  for (const { name: process, instance, crash } of app.background.filter(
    ({ state }) => state === 'crashed',
  )) {
    faults.push(`${process}.${instance} of ${name} is crashed${crash === null ? '' : `: ${crash.message}`}`);
  }
  return faults;
}

/** Remaining lifetime of a certificate from which on its owner is asked to renew it, in ms. */
const notice = 14 * 86_400_000;

/** Checks that nginx serves all domains, with certificates that browsers accept. */
export const domainsCheck: Check = {
  name: 'domains',
  async run({ server }) {
    if (server.state !== 'up') return undefined;
    const { apps, domains: own, edge } = server.status;
    if (edge.fault !== null) return fault(`nginx is not set up: ${edge.fault.message}`, edge.fault.hint);
    const domains = [...own, ...apps.flatMap((app) => app.domains)];
    if (domains.length === 0) return undefined;
    const bad = domains.filter(({ certificate: { state } }) => state === 'failed' || state === 'expired');
    if (bad.length > 0) return fault(bad.map(describeCertificate).join('\n'), renewalHints(bad));
    const doubtful = domains.filter(isDoubtful);
    if (doubtful.length > 0)
      return warning(doubtful.map(describeCertificate).join('\n'), renewalHints(doubtful));
    const [first] = domains.flatMap(({ certificate }) => certificate.expiresAt ?? []).sort();
    return ok(
      `${domains.length} served${first === undefined ? '' : `; the first certificate expires on ${first.slice(0, 10)}`}`,
    );
  },
};

function isDoubtful({ certificate: { kind, state, error, expiresAt } }: DomainView): boolean {
  if (state !== 'valid' || error !== null) return true;
  return kind === 'own' && expiresAt !== null && Date.parse(expiresAt) - Date.now() < notice;
}

function describeCertificate({ name, certificate: { state, expiresAt, error } }: DomainView): string {
  const why = error === null ? '' : `: ${error.message}`;
  const end = expiresAt?.slice(0, 10);
  switch (state) {
    case 'expired':
      return `the certificate of ${name} expired on ${end}${why}`;
    case 'valid':
      return `the certificate of ${name} expires on ${end}${why}`;
    case 'failed':
      return `${name} has no certificate${why}`;
    case 'waiting':
    case 'ordering':
      return `${name} has no certificate yet: the order is in progress`;
  }
}

function renewalHints(domains: DomainView[]): string {
  const hints = domains.map(({ certificate: { kind, error } }) => {
    if (error !== null) return error.hint;
    return kind === 'own' ? 'Replace it: `sluice domains add APP NAME --certificate FILE --key FILE`.' : '';
  });
  return [...new Set(hints)].filter((hint) => hint !== '').join('\n');
}
