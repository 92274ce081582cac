import * as v from 'valibot';
import { dnsForm, isHostName } from '../config/host-name.ts';
import { type EnvironmentId, isName } from '../config/paths.ts';
import { AppError, type ErrorBody } from '../errors/app-error.ts';
import type { CertificateInfo } from './certificate.ts';
import type { OrderRecord } from './orders.ts';

/** Returns a host name in the form of DNS: lower case, ASCII, without the root's dot. @throws AppError `invalid_domain` */
export function hostNameFrom(text: string): string {
  const name = dnsForm(text);
  if (isHostName(name)) return name;
  throw new AppError('invalid_domain', `invalid host name: "${name}"`, {
    hint: 'Use a name such as shop.example.com: letters, digits and "-", separated by dots. Addresses, ports and "*" are not names.',
  });
}

const name = v.pipe(v.string(), v.check(isName, 'a name'));

/** Schema of a record in `domains.json`: a host name that is routed to an app or to the API. */
export const domainSchema = v.strictObject({
  name: v.pipe(v.string(), v.check(isHostName, 'a host name')),
  /** null: the API */
  target: v.nullable(v.strictObject({ app: name, environment: name })),
  /** source of its certificate: an ACME server, Sluice itself, or the owner of the domain */
  certificate: v.picklist(['acme', 'self-signed', 'own']),
  createdAt: v.string(),
});

export type Domain = v.InferOutput<typeof domainSchema>;

/**
 * State of a domain's certificate. `valid`: not expired, and signed by an authority, or by Sluice for a self-signed domain.
 * `expired`: there is one, but browsers refuse it. Without a certificate: `waiting` before the first order, `ordering`
 * during one, `failed` after one that failed.
 */
type CertificateState = 'valid' | 'ordering' | 'waiting' | 'failed' | 'expired';

/** Domain in the output of `sluice domains list --json` and of the API. */
export interface DomainView {
  name: string;
  /** null: the API */
  app: string | null;
  environment: string | null;
  url: string;
  createdAt: string;
  certificate: {
    kind: Domain['certificate'];
    state: CertificateState;
    /** all four null without a certificate; a temporary one does not count */
    issuer: string | null;
    validFrom: string | null;
    expiresAt: string | null;
    /** time of the automatic renewal; null if its owner must renew it */
    renewAt: string | null;
    /** current step, for people; null between steps */
    progress: string | null;
    /** failure of the last order; null if it succeeded */
    error: (ErrorBody & { at: string }) | null;
    /** earliest time of the next order; null unless the last order failed */
    nextTry: string | null;
  };
}

/** Result of `sluice domains add --json` and of the API. */
export interface AddedDomain extends DomainView {
  /** reasons why the app does not work behind nginx */
  notices: { code: string; message: string; hint: string }[];
}

export interface NewDomain {
  name: string;
  /** null: the API */
  environment: EnvironmentId | null;
  /** or PEM: the chain, and its key */
  certificate: 'acme' | 'self-signed' | { certificate: string; key: string };
}

/**
 * @param found certificate that nginx has for the domain
 * @param progress current step of an order
 */
export function viewDomain(
  domain: Domain,
  found: CertificateInfo | undefined,
  orders: OrderRecord,
  progress: string | undefined,
): DomainView {
  const { name, target, certificate: kind, createdAt } = domain;
  // A temporary certificate does not count.
  const known = kind === 'acme' && found?.selfSigned ? undefined : found;
  const error = kind === 'acme' ? orders.last : null;
  return {
    ...{ name, app: target?.app ?? null, environment: target?.environment ?? null },
    url: `https://${name}`,
    createdAt,
    certificate: {
      kind,
      state: certificateState(known, orders, progress),
      issuer: known?.issuer ?? null,
      validFrom: known?.validFrom ?? null,
      expiresAt: known?.expiresAt ?? null,
      renewAt: kind === 'own' ? null : (known?.renewAt ?? null),
      progress: progress ?? null,
      error,
      nextTry: error === null ? null : orders.nextTry,
    },
  };
}

function certificateState(
  known: CertificateInfo | undefined,
  orders: OrderRecord,
  progress: string | undefined,
): CertificateState {
  if (known !== undefined) return Date.parse(known.expiresAt) > Date.now() ? 'valid' : 'expired';
  if (progress !== undefined) return 'ordering';
  return orders.last === null ? 'waiting' : 'failed';
}
