import type { CertificateInfo } from './certificate.ts';
import type { CertificateState, Domain, DomainView } from './domain.ts';
import type { OrderRecord } from './order-record.ts';

interface DomainFacts {
  known: CertificateInfo | undefined;
  orders: OrderRecord;
  progress: string | undefined;
}

export function viewDomain(domain: Domain, facts: DomainFacts): DomainView {
  const { name, target, certificate: kind, createdAt } = domain;
  // What only holds the place of one that is to come is none.
  const known = kind === 'acme' && facts.known?.selfSigned ? undefined : facts.known;
  const { last, nextTry } = kind === 'acme' ? facts.orders : { last: null, nextTry: null };
  return {
    ...{ name, app: target?.app ?? null, environment: target?.environment ?? null },
    url: `https://${name}`,
    createdAt,
    certificate: {
      kind,
      state: stateOf(known, facts),
      issuer: known?.issuer ?? null,
      validFrom: known?.validFrom ?? null,
      expiresAt: known?.expiresAt ?? null,
      renewAt: kind === 'own' ? null : (known?.renewAt ?? null),
      progress: facts.progress ?? null,
      error: last,
      nextTry: last === null ? null : nextTry,
    },
  };
}

function stateOf(known: CertificateInfo | undefined, { orders, progress }: DomainFacts): CertificateState {
  if (known !== undefined) return Date.parse(known.expiresAt) > Date.now() ? 'valid' : 'expired';
  if (progress !== undefined) return 'ordering';
  return orders.last === null ? 'waiting' : 'failed';
}
