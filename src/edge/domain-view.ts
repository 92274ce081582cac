import type { CertificateInfo } from './certificate.ts';
import type { CertificateState, Domain, DomainView } from './domain.ts';
import type { OrderRecord } from './order-record.ts';

interface DomainFacts {
  known: CertificateInfo | undefined;
  orders: OrderRecord;
  progress: string | undefined;
}

export function viewDomain(domain: Domain, facts: DomainFacts, now = Date.now()): DomainView {
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
      state: stateOf(known, { ...facts, now }),
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

function stateOf(
  known: CertificateInfo | undefined,
  { orders, progress, now }: DomainFacts & { now: number },
): CertificateState {
  if (known !== undefined) return Date.parse(known.expiresAt) > now ? 'valid' : 'expired';
  if (progress !== undefined) return 'ordering';
  return orders.last === null ? 'waiting' : 'failed';
}
