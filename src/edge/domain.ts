import * as v from 'valibot';
import { type EnvironmentId, isName } from '../config/paths.ts';
import type { ErrorBody } from '../errors/app-error.ts';
import { isHostName } from './host-name.ts';

const name = v.pipe(v.string(), v.check(isName, 'a name'));

/** A host name that leads to an app, or to our API, as it stands in `domains.json`. */
export const domainSchema = v.strictObject({
  name: v.pipe(v.string(), v.check(isHostName, 'a host name')),
  /** null: the API */
  target: v.nullable(v.strictObject({ app: name, environment: name })),
  /** where its certificate comes from: an ACME server, ourselves, or whoever added it */
  certificate: v.picklist(['acme', 'self-signed', 'own']),
  createdAt: v.string(),
});

export type Domain = v.InferOutput<typeof domainSchema>;

/**
 * `valid`: browsers take it, or, of our own making, would if they knew us; `ordering`: there is none yet, and one is
 * being ordered; `waiting`: there is none, and the first order is about to be made; `failed`: there is none, and the
 * last order failed; `expired`: there is one that browsers take no more.
 */
export type CertificateState = 'valid' | 'ordering' | 'waiting' | 'failed' | 'expired';

/** A domain as `sluice domains list --json` and the API show it. */
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
    /** all four null while there is none but the one that holds its place */
    issuer: string | null;
    validFrom: string | null;
    expiresAt: string | null;
    /** when it is renewed by itself; null where that is for its owner to do */
    renewAt: string | null;
    /** what is being done, for people; null where nothing is */
    progress: string | null;
    /** how the last order failed; null where it did not */
    error: (ErrorBody & { at: string }) | null;
    /** when the next order is made at the earliest; null where none has failed */
    nextTry: string | null;
  };
}

/** A domain that was added, as `sluice domains add --json` and the API show it. */
export interface AddedDomain extends DomainView {
  /** reasons why the app does not work behind nginx */
  notices: { code: string; message: string; hint: string }[];
}

export interface NewDomain {
  name: string;
  /** null: the API */
  target: EnvironmentId | null;
  /** or PEM: the chain, and its key */
  certificate: 'acme' | 'self-signed' | { certificate: string; key: string };
}
