import type { DomainView } from '../edge/domain.ts';
import { type Check, fault, ok, type Patient, warning } from './check.ts';

/** How long before its end a certificate is told of that its owner must renew, in ms. */
const notice = 14 * 86_400_000;

/** Whether host names are answered for, with certificates that browsers take. */
export async function checkDomains({ server }: Patient): Promise<Check | undefined> {
  if (server.state !== 'up') return undefined;
  const { apps, domains: own, edge } = server.status;
  const domains = [...own, ...apps.flatMap((app) => app.domains)];
  if (edge.fault !== null)
    return fault('domains', `nginx is not set up: ${edge.fault.message}`, edge.fault.hint);
  if (domains.length === 0) return undefined;
  const hints = (of: DomainView[]) => [...new Set(of.map(hintFor))].filter((hint) => hint !== '').join('\n');
  const bad = domains.filter(({ certificate: { state } }) => state === 'failed' || state === 'expired');
  if (bad.length > 0) return fault('domains', bad.map(describe).join('\n'), hints(bad));
  const doubtful = domains.filter(isDoubtful);
  if (doubtful.length > 0) return warning('domains', doubtful.map(describe).join('\n'), hints(doubtful));
  const first = domains.flatMap(({ certificate }) => certificate.expiresAt ?? []).sort()[0];
  const until = first === undefined ? '' : `; the first certificate ends on ${first.slice(0, 10)}`;
  return ok('domains', `${domains.length} are answered for${until}`);
}

function isDoubtful({ certificate: { kind, state, error, expiresAt } }: DomainView): boolean {
  if (state !== 'valid' || error !== null) return true;
  return kind === 'own' && expiresAt !== null && Date.parse(expiresAt) - Date.now() < notice;
}

function describe({ name, certificate: { state, expiresAt, error } }: DomainView): string {
  const why = error === null ? '' : `: ${error.message}`;
  const end = expiresAt?.slice(0, 10);
  switch (state) {
    case 'expired':
      return `the certificate of ${name} ended on ${end}${why}`;
    case 'valid':
      return `the certificate of ${name} ends on ${end}${why}`;
    case 'failed':
      return `${name} has no certificate${why}`;
    case 'waiting':
    case 'ordering':
      return `${name} has no certificate yet: it is being ordered`;
  }
}

function hintFor({ certificate: { kind, error } }: DomainView): string {
  if (error !== null) return error.hint;
  return kind === 'own' ? 'Send another: `sluice domains add APP NAME --certificate FILE --key FILE`.' : '';
}
