import { environmentName } from '../config/paths.ts';
import type { DomainView } from '../edge/domain.ts';
import { formatDay, formatTime, paint, table } from './output.ts';

export function domainsTable(domains: DomainView[]): string {
  const rows = domains.map((domain) => [domain.url, leadsTo(domain), certificateText(domain)]);
  return table([['DOMAIN', 'APP', 'CERTIFICATE'], ...rows]);
}

export function leadsTo({ app, environment }: DomainView): string {
  return app === null ? 'the API' : environmentName({ app, environment: environment ?? '' });
}

/** How a certificate is, in one line. */
export function certificateText({ certificate }: DomainView): string {
  const { state, progress } = certificate;
  switch (state) {
    case 'valid':
      return `${paint('green', 'valid')} until ${day(certificate.expiresAt)}, ${maker(certificate)}${renewal(certificate)}`;
    case 'expired':
      return `${paint('red', 'expired')} on ${day(certificate.expiresAt)}, ${maker(certificate)}${renewal(certificate)}`;
    case 'ordering':
      return paint('yellow', progress ?? 'ordering');
    case 'waiting':
      return paint('yellow', 'none yet');
    case 'failed':
      return `${paint('red', 'none')}${renewal(certificate)}`;
  }
}

function maker({ kind, issuer }: DomainView['certificate']): string {
  return kind === 'self-signed' ? 'signed by itself: for trials' : `by ${issuer ?? '?'}`;
}

/** Why it is not renewed, where that has failed. */
function renewal({ error, nextTry }: DomainView['certificate']): string {
  if (error === null) return '';
  const when = nextTry === null ? '' : `; next try at ${formatTime(nextTry)}`;
  return `, ${error.message}${when}`;
}

function day(iso: string | null): string {
  return iso === null ? '?' : formatDay(new Date(iso));
}
